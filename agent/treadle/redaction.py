"""Secrets are hidden from whatever this process says: errors, tracebacks, incidents, dead letters' reasons, log lines.

Whoever resolves a secret calls `hide` with its value; whatever makes text for others calls `redacted`. Values of fewer
than four characters are not looked for: every other text would have them in it.
"""

from __future__ import annotations

import json
import threading
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "[secret]"
_LEAST: Final = 4

_lock: Final = threading.Lock()
_forms: tuple[str, ...] = ()  # every form that a value is looked for in, the longest first


def hide(value: str) -> None:
    """Have a value hidden from now on, also as `repr`, JSON and URLs show it, and each longer line of it."""
    global _forms  # noqa: PLW0603 - what a process hides belongs to all of it
    parts = [value, *(line for line in value.splitlines() if len(line) > 2 * _LEAST)]
    forms = {form for part in parts for form in _shapes(part) if len(form) >= _LEAST}
    with _lock:
        if not forms <= set(_forms):
            _forms = tuple(sorted(forms | set(_forms), key=len, reverse=True))


def redacted(text: str) -> str:
    """Return a text without the secrets that are known here."""
    for form in _forms:
        if form in text:
            text = text.replace(form, MASK)
    return text


def _shapes(value: str) -> set[str]:
    return {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value)}
