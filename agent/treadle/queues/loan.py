"""The loan of the feed's connection to the one loop of a host: the host's side of an Ear."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from treadle.queues.ear import Ear

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.queues.naming import Naming
    from treadle.queues.wire import Wire

QUIET_ROW: Final = 3  # small answers in a row, each a while after the last, that a loan takes


class Loan:
    """See the module. Made by `lend`; everything runs on the host's event loop."""

    __slots__ = ("_counted", "_wire", "ear", "reader")

    def __init__(self, wire: Wire, ear: Ear, naming: Naming) -> None:
        self._wire = wire
        self._counted = 0
        self.ear = ear
        self.reader = naming.readers[0]

    def renew(self, oldest: float) -> bool:
        """Return whether it may go on: the loop listens, and heard something after a time."""
        self._count()
        return self.ear.listening and self.ear.heard_at >= oldest

    def end(self) -> bool:
        """Take the connection back, with what was read and not understood. Returns whether somebody has to ask."""
        ear = self.ear
        self.reader.tenure.ear = None
        ear.close()
        self._count()
        self._wire.take_back(asked=not ear.owes)
        if ear.broken:
            self._wire.abort()
        elif ear.unread:
            self._wire.data_received(ear.unread)
        self.reader.tenure.wake()
        return ear.owes

    def _count(self) -> None:
        # So that nobody takes a connection to be stuck that a loop reads.
        answers = self.ear.answers
        self._wire.answers += answers - self._counted
        self._counted = answers


def lend(wire: Wire, naming: Naming, count: int, bell_id: bytes, given_back: Callable[[Ear], None]) -> Loan | None:
    """Let the loop of the only reader listen itself; None when that can't be done. An XREAD is under way."""
    tenure = naming.readers[0].tenure
    lent = wire.lend() if tenure.sleeps else None
    if lent is None:
        return None
    ear = Ear(lent, naming, count, bell_id, partial(_from_the_loop, asyncio.get_running_loop(), given_back))
    tenure.ear = ear
    tenure.latch.wake()  # it may sleep already, on the latch
    return Loan(wire, ear, naming)


def _from_the_loop(loop: asyncio.AbstractEventLoop, given_back: Callable[[Ear], None], ear: Ear) -> None:
    with contextlib.suppress(RuntimeError):  # the host was stopped
        loop.call_soon_threadsafe(given_back, ear)
