"""The tenure of a loop whose queues are in Redis: the loop's side of a RedisHost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from treadle.queues.group import Writer
from treadle.queues.latch import Latch
from treadle.queues.pipeline import Commit, Pipeline
from treadle.queues.plain import Plain
from treadle.queues.reader import Reader
from treadle.queues.tenure import Batch, DeadLetter, TenureSpec

if TYPE_CHECKING:
    from treadle.errors import TenureLost
    from treadle.queues.ear import Ear
    from treadle.queues.guard import Guard
    from treadle.queues.incarnation import Incarnation

_NOTHING: tuple[()] = ()


class RedisTenure:
    """See treadle.queues.tenure.Tenure."""

    __slots__ = (
        "_appended",
        "_appended_bytes",
        "_ask",
        "_max",
        "_max_bytes",
        "_send",
        "_waiting",
        "asked",
        "awaited",
        "committed",
        "completed",
        "ear",
        "epoch",
        "guard",
        "inc",
        "iteration",
        "key",
        "latch",
        "life",
        "lost",
        "namespace",
        "pipeline",
        "readers",
        "settled",
        "settled_bytes",
        "sleeps",
        "spec",
        "state",
    )

    def __init__(
        self,
        spec: TenureSpec,
        found: Incarnation,
        writer: Writer,
        *,
        namespace: str,
        send: Callable[[RedisTenure], None],
        ask: Callable[[Reader], None],
    ) -> None:
        self.namespace = namespace
        self.spec = spec
        self.key = spec.key
        self.epoch = spec.epoch
        self.inc = found.inc
        self.life = found.life
        self.iteration = found.iteration
        self.completed = found.completed
        self.state = found.state
        self.lost: TenureLost | None = None
        self.guard: Guard | None = None  # as long as a message is suspected
        self.readers = {r.queue: Reader(self, r.queue, r.first, r.nmax, counted=r.counted) for r in found.reads}
        for queue in spec.never_ends:
            if queue in self.readers:
                self.readers[queue].never_ends = True
        self.pipeline = Pipeline(writer, (spec.epoch, found.inc, found.seq), found.nonce_root, self._weigh)
        self.latch = Latch()
        self.ear: Ear | None = None  # set by the feed, for as long as this loop's thread listens itself
        self.sleeps = False  # the loop waits as a thread does
        self.committed = 0  # iterations; written by the host only, like the next two
        self.settled = 0  # the same, the commit that completes the loop included
        self.settled_bytes = 0
        self.asked = False  # the host will look at the pipeline
        self._appended = 0
        self._appended_bytes = 0
        self.awaited: deque[tuple[int, Callable[[int], None]]] | None = None  # who waits for how many to be settled
        self._waiting = self.pipeline.waiting
        self._send = send
        self._ask = ask
        self._max = spec.max_in_flight
        self._max_bytes = spec.max_in_flight_bytes

    @property
    def in_flight(self) -> int:
        """Iterations appended and not yet committed."""
        return max(0, self._appended - self.settled)  # below 0 while a burst has not been counted

    @property
    def appended(self) -> int:
        """How many iterations have been appended."""
        return self._appended

    def when_committed(self, call: Callable[[int], None]) -> None:
        """Call once when all that has been appended so far is committed."""
        if self.awaited is None:
            self.awaited = deque()
        self.awaited.append((self._appended, call))
        self.tell()  # the answer may have come before we waited for it

    def settle(self, commit: Commit) -> None:
        """Take note that a commit is done."""
        for queue, ranges in commit.ranges.items():
            self.readers[queue].committed(ranges)
        self.settled_bytes += commit.size
        self.committed += commit.counted
        self.settled += len(commit.iterations)
        if self.awaited:
            self.tell()

    def tell(self) -> None:
        """Tell those whose iterations are settled. In the host's thread and the loop's."""
        awaited = self.awaited
        while awaited:
            try:
                first = awaited.popleft()
            except IndexError:  # the other thread took the last one
                return
            if first[0] > self.settled:
                awaited.appendleft(first)
                return
            first[1](time.time_ns())

    @property
    def has_room(self) -> bool:
        """Whether another iteration may start."""
        return (
            self._appended - self.settled < self._max
            and self._appended_bytes - self.settled_bytes < self._max_bytes
            and self.pipeline.full_on is None
        )

    def wake(self) -> None:
        """End the wait of the loop."""
        self.latch.wake()
        ear = self.ear
        if ear is not None and ear.listening:
            ear.ring()

    def wait(self, timeout_s: float | None) -> None:
        """Block the loop's thread until something changed."""
        self.sleeps = True
        ear = self.ear
        if ear is None:
            self.latch.wait(timeout_s)
        else:
            ear.wait(timeout_s)

    def wait_async(self, timeout_s: float | None) -> Coroutine[Any, Any, None]:
        """Await the same."""
        self.sleeps = False
        if self.ear is not None:
            self.ear.leave()
        return self.latch.wait_async(timeout_s)

    @property
    def blocked(self) -> bool:
        """See Tenure."""
        return self.pipeline.blocked_from is not None

    def poll(self, queue: str) -> Batch | None:
        """Take the next batch of a queue if one is here."""
        reader = self.readers[queue]
        batch = reader.poll() if self.guard is None else self._guarded(reader, self.guard)
        if reader.parked and (batch is None or reader.low):
            reader.parked = False
            self._ask(reader)
        return batch

    def _guarded(self, reader: Reader, guard: Guard) -> Batch | None:
        batch = guard.poll(reader)
        if guard.done:
            self.guard = None
        return batch

    def give_back(self, batch: Batch) -> None:
        """Return the rest of a batch to the front."""
        if batch.items:
            self.readers[batch.queue].returned.append(batch)

    def ended(self, queue: str) -> bool:
        """Whether a queue has no open writer, no message and nothing claimed."""
        return self.readers[queue].ended

    def append(
        self,
        reads: Sequence[tuple[str, int, int]],
        pushes: Sequence[tuple[str, bytes]],
        state: Mapping[tuple[str, str], bytes | None] | None = None,
        *,
        effects: bool = False,
        dead: Sequence[DeadLetter] = _NOTHING,
        completes: bool = False,
    ) -> None:
        """Append one finished iteration."""
        size = 0
        for push in pushes:
            size += len(push[1])
        if state:
            size += sum(len(value) for value in state.values() if value)
        elif not (pushes or reads or effects or dead or completes):
            return
        self._waiting.append((reads, pushes, state, dead, completes, size))
        self._appended += 1
        self._appended_bytes += size
        if not self.asked:
            self.asked = True
            self._send(self)

    def plain(self, reads: str | None, pushes: str | None) -> Callable[[int, bytes | None], bool]:
        """Return the short form of `append`."""
        self.pipeline.plain = Plain(reads or "", pushes or "")
        waiting, both = self._waiting.append, reads is not None and pushes is not None

        def append(number: int, item: bytes | None) -> bool:
            if item is None:
                waiting((number, None) if both else number)
            else:
                waiting((number, item) if both else item)
                self._appended_bytes += len(item)
            self._appended += 1
            if not self.asked:
                self.asked = True
                self._send(self)
            return (
                self._appended - self.settled < self._max
                and self._appended_bytes - self.settled_bytes < self._max_bytes
                and self.pipeline.full_on is None
            )

        return append

    @property
    def lane(self) -> RedisTenure:
        """Return itself: the calls below are its Lane."""
        return self

    @property
    def put(self) -> Callable[[Any], None]:
        """Return what appends a plain iteration."""
        return self._waiting.append

    def ask(self) -> None:
        """Have the host look at what waits."""
        self.asked = True
        self._send(self)

    def room(self) -> int:
        """Return how many iterations may be put at once."""
        return 0 if self.pipeline.full_on is not None else self._max - self._appended + self.settled

    def bytes_left(self) -> int:
        """Return how many bytes they may push."""
        return self._max_bytes - self._appended_bytes + self.settled_bytes

    def count(self, iterations: int, size: int) -> None:
        """Take note of what was put."""
        self._appended += iterations
        self._appended_bytes += size

    def _weigh(self, queue: str, first: int, last: int) -> int:
        return self.readers[queue].ledger.weigh(first, last)
