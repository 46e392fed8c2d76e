"""The function library `treadle` in Redis: its source, and when a controller may put it in the place of another.

The source is lua/*.lua in the order of their names. One server has one library for all its namespaces, so two
controllers of different versions may meet there: a newer library is never replaced by an older one. The older
controller goes on with it as long as it says (`SERVES`) that it understands its callers.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

NAME: Final = "treadle"
_NUMBER: Final = re.compile(r"^local (VERSION|SERVES) = (\d+)$", re.MULTILINE)


class Version(NamedTuple):
    """The version of a library, and the oldest one whose callers it serves. Libraries without one are 0."""

    number: int
    serves: int


class Move(Enum):
    """What a controller does about the library that it finds."""

    NONE = "none"  # it is the same
    LOAD = "load"  # there is none, an older one, or another one of the same version
    KEEP = "keep"  # it is newer and serves us
    REFUSE = "refuse"  # it is newer and does not serve us


@cache
def source() -> str:
    """Return the whole library as FUNCTION LOAD wants it."""
    folder = files("treadle.queues") / "lua"
    parts = sorted((f for f in folder.iterdir() if f.name.endswith(".lua")), key=lambda f: f.name)
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def version_of(code: str) -> Version:
    """Return what a library says of itself."""
    numbers = {name: int(number) for name, number in _NUMBER.findall(code)}
    return Version(numbers.get("VERSION", 0), numbers.get("SERVES", 0))


def decide(found: str | None, ours: str) -> Move:
    """Say what to do about the library that was found on the server, given ours."""
    if found is None:
        return Move.LOAD
    if found == ours:
        return Move.NONE
    theirs, mine = version_of(found), version_of(ours)
    if theirs.number <= mine.number:
        return Move.LOAD
    return Move.KEEP if theirs.serves <= mine.number else Move.REFUSE
