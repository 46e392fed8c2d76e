"""Names: which are allowed, how they are shown, and which one was probably meant."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_USES: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*){0,3}")
_MAX_USES: Final = 128
_SHOWN: Final = 80
_SHORT_WORD: Final = 5  # up to here one slip is a near miss, above two are
_LONG_WORD: Final = 64


def is_name(value: object) -> bool:
    """Whether a workflow, node, loop, queue, secret or namespace may be called so."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def is_uses(value: str) -> bool:
    """Whether a node type may be called so."""
    return len(value) <= _MAX_USES and _USES.fullmatch(value) is not None


def escaped(text: str, limit: int = _SHOWN) -> str:
    """The text for people: cut, and without control characters that a terminal would obey."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(text: str) -> str:
    """The text in quotes, safe to print."""
    return f"'{escaped(text)}'"


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {int: "an integer", float: "a number", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def token(key: str) -> str:
    """One key as a reference token of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The other choice that differs from the word by a slip or two, if there is one."""
    best: tuple[int, str] | None = None
    for choice in choices:
        slips = _slips(word, choice) if choice != word else None
        if slips is not None and (best is None or (slips, choice) < best):
            best = (slips, choice)
    return best[1] if best else None


@lru_cache(maxsize=8192)
def _slips(word: str, choice: str) -> int | None:
    """How many letters differ (swapped neighbours count once); None when too many."""
    if _bare(word) == _bare(choice):
        return 0
    most = 1 if min(len(word), len(choice)) <= _SHORT_WORD else 2
    if abs(len(word) - len(choice)) > most or len(word) > _LONG_WORD:
        return None
    before, row = [], list(range(len(choice) + 1))
    for i, a in enumerate(word):
        before, last, row = row, before, [i + 1]
        for j, b in enumerate(choice):
            cost = min(before[j] + (a != b), before[j + 1] + 1, row[j] + 1)
            if i and j and a == choice[j - 1] and word[i - 1] == b:
                cost = min(cost, last[j - 1] + 1)
            row.append(cost)
        if min(row) > most:
            return None
    return row[-1] if row[-1] <= most else None


def _bare(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()
