"""What one node does to the iteration under way, so that a failed attempt can be undone and the rest stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.loop.iteration import Iteration
    from treadle.queues.leases import Leases


class Doings:
    """Stands between the QueueManager of one step and the iteration: notes where the step's own part begins.

    It is noted with the first thing that an execution does, so executions that do nothing cost nothing.
    """

    __slots__ = ("_at", "_iteration", "_leases")

    def __init__(self, at: int, iteration: Iteration, leases: Leases) -> None:
        self._at = at
        self._iteration = iteration
        self._leases = leases

    def push(self, queue: str, item: bytes) -> None:
        """Add a message. Raises IterationTooLarge."""
        iteration = self._iteration
        if iteration.acting != self._at:
            iteration.begin(self._at, self._leases.count)
        iteration.push(queue, item)

    def read(self, queue: str, number: int) -> None:
        """Add a message that was leased: it is acknowledged with the iteration."""
        self._iteration.read(queue, number)

    def take(self, queue: str) -> tuple[int, Any] | None:
        """Lease the next message of a queue if one is here."""
        leased = self._leases.take(queue)
        if leased is not None and self._iteration.acting != self._at:
            self._iteration.begin(self._at, self._leases.count - 1)
        return leased

    def ended(self, queue: str) -> bool:
        """Tell whether no message will ever come."""
        return self._leases.ended(queue)
