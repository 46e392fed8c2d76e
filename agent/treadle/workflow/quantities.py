"""Quantities: durations in seconds and sizes in bytes, from what people write."""

from __future__ import annotations

import re
from typing import Any, Final

MAX_DURATION_S: Final = 10_000 * 86_400.0
MAX_SIZE: Final = 2**50

_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s?([A-Za-z]{1,3})", re.ASCII)
# Divided or multiplied, so that "200ms" is exactly 0.2.
_PER_SECOND: Final = {"ms": 1000, "us": 1_000_000}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES: Final = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def duration_s(value: Any) -> float | None:
    """Seconds from a number or a text such as "200ms"; None when it is no duration up to the limit."""
    seconds = _text_s(value) if isinstance(value, str) else _number(value)
    if seconds is None or not 0 <= seconds <= MAX_DURATION_S:
        return None
    return float(seconds)


def size(value: Any) -> int | None:
    """Bytes from an integer or a text such as "512MiB"; None when it is no size up to the limit."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        unit = _BYTES.get(match[2]) if match else None
        amount: float | None = float(match[1]) * unit if match and unit else None
    else:
        amount = _number(value)
    if amount is None or amount != int(amount) or not 0 < amount <= MAX_SIZE:
        return None
    return int(amount)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text_s(text: str) -> float | None:
    match = _QUANTITY.fullmatch(text)
    if not match:
        return None
    amount, unit = float(match[1]), match[2]
    if unit in _PER_SECOND:
        return amount / _PER_SECOND[unit]
    return amount * _SECONDS[unit] if unit in _SECONDS else None
