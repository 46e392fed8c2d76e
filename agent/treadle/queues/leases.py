"""Messages that were popped one by one inside an iteration: leased until it commits, given back when it is dropped."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.queues.tenure import Tenure

_Leased = tuple[int, Any]  # number and item


class Leases:
    """The messages of a tenure that nodes pop, by queue."""

    __slots__ = ("_here", "_taken", "_tenure")

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure
        self._here: dict[str, deque[_Leased]] = {}
        self._taken: list[tuple[str, _Leased]] = []

    @property
    def count(self) -> int:
        """How many messages are leased."""
        return len(self._taken)

    @property
    def taken(self) -> list[tuple[str, int, Any]]:
        """The leased messages in the order of their leases: queue, number, item."""
        return [(queue, *leased) for queue, leased in self._taken]

    def take(self, queue: str) -> _Leased | None:
        """Lease the next message of a queue if one is here."""
        here = self._here.setdefault(queue, deque())
        if not here:
            batch = self._tenure.poll(queue)
            if batch is None:
                return None
            here.extend(enumerate(batch.items, batch.first))
        leased = here.popleft()
        self._taken.append((queue, leased))
        return leased

    def ended(self, queue: str) -> bool:
        """Tell whether no message will ever come; nothing is here when this is asked."""
        return self._tenure.ended(queue)

    def keep(self) -> None:
        """Let go of what was taken: the iteration committed."""
        self._taken.clear()

    def give_back(self, kept: int = 0) -> None:
        """Put what was taken back, in order, but for the first `kept`: the iteration, or an attempt, was dropped."""
        while len(self._taken) > kept:
            queue, leased = self._taken.pop()
            self._here[queue].appendleft(leased)
