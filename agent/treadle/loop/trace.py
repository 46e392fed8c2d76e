"""Where a loop is, for whoever asks after its process has died: three numbers that the loop writes as it goes.

A plain list unless the host hands in shared memory. A message costs one store; entering and leaving an iteration
is noted where the loop waits, so that work after work costs nothing.
"""

from __future__ import annotations

from typing import Final, Protocol

INSIDE: Final = 0  # 1 while code of nodes may run
QUEUE: Final = 1  # which of the queues of the first step the message is from
NUMBER: Final = 2  # the message under way, 0 for none
WORDS: Final = 3


class Trace(Protocol):
    """A sequence of WORDS integers."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Write one of them."""

    def __getitem__(self, index: int, /) -> int:
        """Read one of them."""
        ...


def no_trace() -> Trace:
    """Return a trace that nobody else sees."""
    return [0] * WORDS
