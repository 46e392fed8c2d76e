"""A head start for the thread of a loop that sleeps: it takes longer to wake than its message takes to be read.

So it is woken first. It needs the interpreter too: once the message is handed out, the host's thread pauses for as long
as a thread takes to wake, before it asks for more. A thread that has to wait for the interpreter sleeps once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from treadle.queues.reader import Reader

SMALL: Final = 4096  # bytes that are read in less time than a thread takes to wake
QUIET_S: Final = 0.002  # nothing for so long: the loop sleeps. Where there is more to do nobody pauses.
PAUSE_S: Final = 0.00002  # the kernel adds about as much again as a thread takes to wake


class HeadStart:
    """`give` before an answer is read, `taken` after it was handed out."""

    __slots__ = ("_given", "_last", "row")

    def __init__(self) -> None:
        self._given = False
        self.row = 0  # how many answers in a row were worth one
        self._last = 0.0

    def give(self, size: int, readers: Sequence[Reader], now: float) -> None:
        """Wake the loop that an answer of this size is for, if that is known and worth it."""
        self._given = size < SMALL and len(readers) == 1 and now - self._last >= QUIET_S
        self._last = now
        self.row = self.row + 1 if self._given else 0
        if self._given:
            readers[0].tenure.wake()

    def taken(self) -> float:
        """Return how long to pause, once."""
        given, self._given = self._given, False
        return PAUSE_S if given else 0.0
