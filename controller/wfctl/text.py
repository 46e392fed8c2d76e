"""Strings from elsewhere, made safe for a terminal; numbers and times, made short for people."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

# Controls (C0, DEL, C1) steer a terminal, format characters (bidirectional overrides, zero width) fake what is read.
_SUSPECT: Final = re.compile(r"[^\x20-\x7e]")
_HARMLESS: Final = frozenset("\u200d")  # joins emoji


def clean(text: str, *, lines: bool = False) -> str:
    """Return a text in which nothing can steer a terminal; with `lines`, line ends and tabs stay."""
    return _SUSPECT.sub(lambda match: _harmless(match[0], lines=lines), text)


def _harmless(char: str, *, lines: bool) -> str:
    if lines and char in "\n\t":
        return char
    if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} or char in _HARMLESS:
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def duration(seconds: float) -> str:
    """Return a length of time as people say it: 320ms, 4.2s, 3m10s, 5h2m, 3d4h."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 60:
        return f"{math.floor(seconds * 10) / 10:g}s"
    whole = int(seconds)
    for size, unit, part, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part}{small}"
    raise AssertionError(seconds)


def rate(per_second: float) -> str:
    """Return a rate per second: 0, 0.25, 12.3, 48k."""
    if per_second >= 10_000:
        return f"{per_second / 1000:.0f}k"
    return f"{per_second:.3g}" if per_second < 1000 else f"{per_second:.0f}"


def size(number: int) -> str:
    """Return a number of bytes: 12 B, 3.4 KiB, 1.2 MiB."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError(number)
