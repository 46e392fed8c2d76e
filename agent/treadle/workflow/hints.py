"""Hints: which known word an unknown one was probably meant to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.workflow.names import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

_MAX_COMPARISONS: Final = 50_000  # for one document: a hostile one holds 100,000 different unknown words


class Hints:
    """Remembers what it has compared, and gives no more hints when a document has asked for too many."""

    def __init__(self) -> None:
        self._left = _MAX_COMPARISONS
        self._found: dict[tuple[str, str], str | None] = {}

    def nearest(self, word: str, choices: Collection[str], *, among: str) -> str | None:
        """The choice that the word looks like; `among` names the choices, which are the same each time."""
        key = (word, among)
        if key not in self._found:
            if self._left <= 0:
                return None
            self._left -= len(choices)
            self._found[key] = nearest(word, choices)
        return self._found[key]
