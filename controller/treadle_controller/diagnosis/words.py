"""How verdicts say numbers, times and lists to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def span(seconds: float) -> str:
    """Return a length of time: 320 ms, 4.2 s, 3 min 10 s, 5 h 2 min, 3 d 4 h."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = int(seconds)
    for size, unit, part, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(seconds)


def since(moment: float, now: float) -> str:
    """Return since when, "" when that is not known."""
    return f" for {span(max(0.0, now - moment))}" if moment else ""


def clock(moment: float) -> str:
    """Return a moment in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(number: int) -> str:
    """Return a number of bytes."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def count(number: int, noun: str) -> str:
    """Return a number of things: 1 message, 2,000 messages."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def names(found: Sequence[str], most: int = 3) -> str:
    """Return a list of names, the first few of many."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def rate(per_second: float) -> str:
    """Return a rate: 0.25, 12.3, 1,200."""
    return f"{per_second:,.0f}" if per_second >= 1000 else f"{per_second:.3g}"
