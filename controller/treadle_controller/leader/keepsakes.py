"""Keepsakes: loops stay for long, so what they are made of need not be looked through again and again for garbage.

The collector looks through all that is new, and what is left of it once more: of a document of ten thousand loops that
takes as long as to hand a tenth of them out. So it is set aside. Garbage in cycles that is there at that moment, very
little, is never found then: nothing is set aside again before there are a good deal more loops than there ever were.
"""

from __future__ import annotations

import gc
from typing import Final

_MORE: Final = 1_000  # loops


class Keepsakes:
    """Sets aside what was made since the last time; `loops` are those that there are already."""

    def __init__(self, loops: int) -> None:
        self._most = loops

    def note(self, loops: int) -> None:
        """Take note of how many loops there are now."""
        if loops >= self._most + _MORE:
            self._most = loops
            gc.freeze()
