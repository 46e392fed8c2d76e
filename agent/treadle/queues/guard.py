"""Poison: messages under suspicion run one by one, and what ends its process again and again becomes a dead letter.

After an unclean end somebody may know on which message the loop was (`Suspicion.suspect`), or nobody does: then
every message that can have been under way is treated so, at most as many as may be in flight. Before such a message
runs, all before it has committed and its delivery was counted in the loop's record in Redis, where a death leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from treadle.queues.codec import encode_buried
from treadle.queues.tenure import Batch, DeadLetter, Suspicion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.queues.reader import Reader

POISON: Final = "poison"


class _Tenure(Protocol):
    """What the guard needs of a tenure."""

    namespace: str

    @property
    def in_flight(self) -> int:
        """Iterations appended and not yet committed."""
        ...

    def append(self, reads: Any, pushes: Any, *, dead: Any) -> None:
        """Append a finished iteration."""

    def wake(self) -> None:
        """Have the loop look again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to Redis: count a delivery, or (`number` 0) forget what was counted."""

    queue: str
    number: int
    answer: Callable[[int], None]


class Guard:
    """Stands between the readers of a tenure and its loop. `done`: nothing is suspected any more.

    `poll` is the loop's; answers come on the host's event loop, and wake the loop. `ask` takes a question there.
    """

    def __init__(
        self,
        tenure: _Tenure,
        suspicion: Suspicion,
        tails: Mapping[str, int],
        careful: int,
        ask: Callable[[Asked], None],
    ) -> None:
        self.done = False
        self.dead: list[tuple[str, int]] = []  # what became dead letters
        self.on_done: Callable[[], None] = _nothing
        self._tenure = tenure
        self._suspicion = suspicion
        self._tails = tails  # messages from here on came later, and can't have been under way
        self._left = careful
        self._ask = ask
        self._handed: tuple[str, int] | None = None  # the message that runs alone
        self._asked = False
        self._count: int | None = None  # deliveries of the message that is next, once Redis has counted

    def poll(self, reader: Reader) -> Batch | None:
        """Take the next batch of a reader: a suspected message alone, what comes before it as usual."""
        if self._handed is not None:
            if self._tenure.in_flight:
                return None
            queue, number = self._handed
            self._handed = None
            if reader.queue != queue or not _given_back(reader, number):
                self._passed(queue, number)
        batch = reader.poll()
        if batch is None or self.done:
            return batch
        ahead = self._ahead(batch)
        if ahead is None:
            return batch
        if ahead:
            return _cut(batch, ahead, reader)
        return self._alone(batch, reader)

    def _ahead(self, batch: Batch) -> int | None:
        """Return how many messages come before the next suspected one; None: there is none in this batch."""
        suspect = self._suspicion.suspect
        if suspect is None:
            return 0 if batch.first < self._tails.get(batch.queue, 0) else None
        queue, number = suspect
        if batch.queue != queue:
            return None
        if batch.first > number:
            self._finish(queue)  # it has committed after all
            return None
        ahead = number - batch.first
        return ahead if ahead < len(batch.items) else None

    def _alone(self, batch: Batch, reader: Reader) -> Batch | None:
        if self._tenure.in_flight or self._count is None:
            reader.returned.append(batch)
            if not self._tenure.in_flight and not self._asked:
                self._asked = True
                self._ask(Asked(batch.queue, batch.first, self._counted))
            return None
        count, self._count, self._asked = self._count, None, False
        one = _cut(batch, 1, reader)
        self._handed = (one.queue, one.first)
        if count <= self._suspicion.max_deliveries:
            return one
        self._bury(one, count - 1)
        return None

    def _counted(self, count: int) -> None:
        self._count = count
        self._tenure.wake()

    def _bury(self, one: Batch, deaths: int) -> None:
        message_id = f"{self._tenure.namespace}/{one.queue}/{one.first}"
        raw = encode_buried(one.items[0], message_id)
        reason = {
            "error": POISON,
            "message": f"it ended the process that worked on it, {deaths} times when it ran alone",
            "traceback": "",
            "node": self._suspicion.node,
            "attempts": deaths,
            "revision": self._suspicion.revision,
            "iteration": message_id,
        }
        letter = DeadLetter(one.queue, one.first, raw, reason)
        self.dead.append((one.queue, one.first))
        self._tenure.append(((one.queue, one.first, one.first),), (), dead=(letter,))

    def _passed(self, queue: str, number: int) -> None:
        self._left -= 1
        if self._suspicion.suspect is not None or self._left <= 0 or self._all_behind(queue, number):
            self._finish(queue)

    def _all_behind(self, queue: str, number: int) -> bool:
        return number + 1 >= self._tails.get(queue, 0) and len(self._tails) == 1

    def _finish(self, queue: str) -> None:
        self.done = True
        self._ask(Asked(queue, 0, _ignore))
        self.on_done()


def _given_back(reader: Reader, number: int) -> bool:
    """Whether a message is with its reader again: its iteration was dropped."""
    return bool(reader.returned) and reader.returned[-1].first == number


def _cut(batch: Batch, at: int, reader: Reader) -> Batch:
    """Return the first messages of a batch; the rest goes back to the front."""
    if at < len(batch.items):
        reader.returned.append(Batch(batch.queue, batch.first + at, batch.items[at:]))
    return Batch(batch.queue, batch.first, batch.items[:at])


def _nothing() -> None:
    """Tell nobody."""


def _ignore(_: int) -> None:
    """Take an answer that changes nothing."""
