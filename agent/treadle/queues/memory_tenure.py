"""A tenure of the queues in memory: claims messages, and commits iterations in order."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.queues.bell import Bell
from treadle.queues.codec import decode_item
from treadle.queues.plain import Plain
from treadle.queues.tenure import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from treadle.errors import TenureLost
    from treadle.queues.memory import LoopRecord, MemoryHost
    from treadle.queues.tenure import DeadLetter, TenureSpec

_BATCH_LIMIT = 1000


class _Pending(NamedTuple):
    reads: Sequence[tuple[str, int, int]]
    pushes: Sequence[tuple[str, bytes]]
    state: Mapping[tuple[str, str], bytes | None] | None
    dead: Sequence[DeadLetter]
    completes: bool
    bytes: int


class MemoryTenure:
    """See `treadle.queues.tenure.Tenure`."""

    def __init__(self, host: MemoryHost, spec: TenureSpec, record: LoopRecord) -> None:
        self.namespace = host.namespace
        self.key = spec.key
        self.epoch = record.epoch
        self.inc = record.inc
        self.life = record.life
        self.iteration = record.iteration
        self.completed = record.completed
        self.state = {node: dict(record.state.get(node, {})) for node in spec.stateful}
        self.lost: TenureLost | None = None
        self.committed = 0
        self.has_room = True
        self._host = host
        self._spec = spec
        self._record = record
        self._bell = Bell()
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self.appended = 0
        self._awaited: deque[tuple[int, Callable[[int], None]]] = deque()
        self._claims: dict[str, dict[int, bytes]] = {queue: {} for queue in spec.reads}
        self._returned: dict[str, deque[Batch]] = {}
        self._plain: Plain | None = None
        self._look_for_room()

    @property
    def in_flight(self) -> int:
        """See Tenure."""
        return len(self._pending)

    @property
    def blocked(self) -> bool:
        """See Tenure."""
        return bool(self._pending) and not self._host.held

    def poll(self, queue: str) -> Batch | None:
        """See Tenure."""
        with self._host.lock:
            if self.lost is not None:
                return None
            returned = self._returned.get(queue)
            if returned:
                return returned.popleft()
            taken = self._host.queue(queue).claim(_BATCH_LIMIT)
            if not taken:
                return None
            self._claims[queue].update(taken)
            return Batch(queue, taken[0][0], [decode_item(item) for _, item in taken])

    def give_back(self, batch: Batch) -> None:
        """See Tenure."""
        if batch.items:
            self._returned.setdefault(batch.queue, deque()).appendleft(batch)

    def ended(self, queue: str) -> bool:
        """See Tenure."""
        with self._host.lock:
            return queue not in self._spec.never_ends and self._host.queue(queue).ended

    def append(
        self,
        reads: Sequence[tuple[str, int, int]],
        pushes: Sequence[tuple[str, bytes]],
        state: Mapping[tuple[str, str], bytes | None] | None = None,
        *,
        effects: bool = False,
        dead: Sequence[DeadLetter] = (),
        completes: bool = False,
    ) -> None:
        """See Tenure."""
        if not (reads or pushes or state or effects or dead or completes):
            return
        size = sum(len(item) for _, item in pushes)
        with self._host.lock:
            if self.lost is not None:
                return
            self._pending.append(_Pending(reads, pushes, state, dead, completes, size))
            self.appended += 1
            self._pending_bytes += size
            while self.commit_next():
                pass
            self._look_for_room()

    def plain(self, reads: str | None, pushes: str | None) -> Callable[[int, bytes | None], bool]:
        """See Tenure."""
        self._plain = Plain(reads or "", pushes or "")

        def append(number: int, item: bytes | None) -> bool:
            read = () if reads is None or not number else ((reads, number, number),)
            self.append(read, () if pushes is None or item is None else ((pushes, item),))
            return self.has_room

        return append

    def when_committed(self, call: Callable[[int], None]) -> None:
        """See Tenure."""
        with self._host.lock:
            self._awaited.append((self.appended, call))
            self._tell()

    def _tell(self) -> None:
        while self._awaited and self._awaited[0][0] <= self.appended - len(self._pending):
            self._awaited.popleft()[1](time.time_ns())

    @property
    def lane(self) -> MemoryLane:
        """See Tenure."""
        if self._plain is None:
            raise RuntimeError("a lane is what `plain` opens: ask for that first")
        return MemoryLane(self, self._plain)

    def room(self) -> int:
        """Return how many iterations may be appended at once: where a queue has limits, any may be the last."""
        if not self.has_room:
            return 0
        free = self._spec.max_in_flight - len(self._pending)
        return min(1, free) if any(self._host.queue(queue).bounded for queue in self._spec.writes) else free

    def bytes_left(self) -> int:
        """Return how many bytes may be pushed before `has_room` ends."""
        return self._spec.max_in_flight_bytes - self._pending_bytes

    def commit_next(self, *, forced: bool = False) -> bool:
        """Commit the oldest iteration if nothing stands in its way; called with the host's lock held."""
        if not self._pending or self.lost is not None or (self._host.held and not forced):
            return False
        pending = self._pending[0]
        if any(self._host.queue(queue).full for queue, _ in pending.pushes):
            return False
        self._pending.popleft()
        self._pending_bytes -= pending.bytes
        self._apply(pending)
        self._tell()
        self._look_for_room()
        return True

    def wait(self, timeout_s: float | None) -> None:
        """See Tenure."""
        self._bell.wait(None if self._host.clock.driven else timeout_s)

    async def wait_async(self, timeout_s: float | None) -> None:
        """See Tenure."""
        await self._bell.wait_async(None if self._host.clock.driven else timeout_s)

    def wake(self) -> None:
        """See Tenure."""
        self._bell.ring()

    def end(self, lost: TenureLost) -> None:
        """Fence this tenure: what it did not commit is forgotten, what it claimed goes back."""
        self.lost = lost
        self.has_room = False
        self._pending.clear()
        for queue, claims in self._claims.items():
            self._host.queue(queue).return_claims(claims.items())
            claims.clear()
        self._bell.ring()

    def _apply(self, pending: _Pending) -> None:
        host, record = self._host, self._record
        for queue, item in pending.pushes:
            host.queue(queue).add(item)
        for (node, key), value in (pending.state or {}).items():
            values = record.state.setdefault(node, {})
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        for letter in pending.dead:
            host.queue(letter.queue).dead.append(letter)
        freed = self._acknowledge(pending)
        if pending.completes:
            record.completed = True
            for name in self._spec.writes:
                host.queue(name).writers.discard(self.key)
        else:
            record.iteration += 1
            self.committed += 1
        self._ring_others(pending, freed=freed)

    def _acknowledge(self, pending: _Pending) -> bool:
        for queue, first, last in pending.reads:
            claims, shared = self._claims[queue], self._host.queue(queue)
            for number in range(first, last + 1):
                shared.size -= len(claims.pop(number))
                shared.claimed -= 1
        return bool(pending.reads)

    def _ring_others(self, pending: _Pending, *, freed: bool) -> None:
        """Wake readers of what was pushed, and who waits for what was read: writers for room, readers for the end."""
        written = {queue for queue, _ in pending.pushes} | (set(self._spec.writes) if pending.completes else set())
        read = {queue for queue, _, _ in pending.reads} if freed else set()
        for other in self._host.tenures:
            if other is not self and other.concerned(written, read):
                other.wake()

    def concerned(self, written: set[str], read: set[str]) -> bool:
        """Tell whether a commit is news for this tenure; commits what waited for the room that it made."""
        if not read.isdisjoint(self._spec.writes):
            while self.commit_next():
                pass
            self._look_for_room()
            return True
        return not written.isdisjoint(self._spec.reads) or not read.isdisjoint(self._spec.reads)

    def _look_for_room(self) -> None:
        spec = self._spec
        self.has_room = (
            self.lost is None
            and len(self._pending) < spec.max_in_flight
            and (self._pending_bytes < spec.max_in_flight_bytes or not self._pending)
            and not any(self._host.queue(queue).full for queue in spec.writes)
        )


class MemoryLane:
    """See `treadle.queues.tenure.Lane`: what is put is appended at once."""

    asked = True

    def __init__(self, tenure: MemoryTenure, plain: Plain) -> None:
        self._tenure = tenure
        self._plain = plain
        self.room = tenure.room
        self.bytes_left = tenure.bytes_left

    def put(self, short: Any) -> None:
        """Append an iteration."""
        reads, pushes, *_ = self._plain.whole([short])[0]
        self._tenure.append(reads, pushes)

    def ask(self) -> None:
        """Nobody needs to be asked."""

    def count(self, iterations: int, size: int) -> None:
        """Nothing: all was counted when it was put."""
