"""Queues in memory, for tests and for one process: the interface and the promises of the Redis queues, no server.

A `MemoryHost` holds the queues, states and epochs of one namespace; loops in several threads and event loops may
share it. Everything is as in Redis but durable: fenced tenures, atomic commits in order, claims that go back when
a tenure ends, bounded queues, completion through open writers.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from treadle.clock import SystemClock
from treadle.errors import TenureLost
from treadle.queues.memory_tenure import MemoryTenure
from treadle.workflow.plan import QueueLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.clock import Clock
    from treadle.queues.tenure import DeadLetter, LoopKey, Tenure, TenureSpec


@dataclass(slots=True)
class LoopRecord:
    """What outlives a tenure."""

    epoch: int
    inc: int = -1
    life: str = field(default_factory=lambda: secrets.token_hex(8))
    iteration: int = 0
    completed: bool = False
    state: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tenure: MemoryTenure | None = None


@dataclass(slots=True)
class MemoryQueue:
    """One queue: what waits, by number, and who is at its ends."""

    waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    tail: int = 1  # the number of the next message
    size: int = 0  # bytes of messages waiting and claimed
    claimed: int = 0
    limits: QueueLimits = field(default_factory=lambda: QueueLimits(None, None))
    writers: set[LoopKey] = field(default_factory=set)
    had_writer: bool = False
    dead: list[DeadLetter] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """Messages waiting or claimed."""
        return len(self.waiting) + self.claimed

    @property
    def bounded(self) -> bool:
        """Whether it can be full."""
        limits = self.limits
        return limits.when_full == "block" and not (limits.messages is None and limits.bytes is None)

    @property
    def full(self) -> bool:
        """Whether a bounded queue lets its writers wait."""
        limits = self.limits
        if limits.when_full != "block":
            return False
        return (limits.messages is not None and self.depth >= limits.messages) or (
            limits.bytes is not None and self.size >= limits.bytes
        )

    @property
    def ended(self) -> bool:
        """Whether there will never be another message."""
        return self.had_writer and not self.writers and not self.depth

    def add(self, item: bytes) -> None:
        """Append a message, at the cost of the oldest ones where the limits say so."""
        self.waiting.append((self.tail, item))
        self.tail += 1
        self.size += len(item)
        if self.limits.when_full == "drop-oldest":
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        messages, most = self.limits.messages, self.limits.bytes
        while self.waiting and (
            (messages is not None and self.depth > messages) or (most is not None and self.size > most)
        ):
            self.size -= len(self.waiting.popleft()[1])

    def claim(self, most: int) -> list[tuple[int, bytes]]:
        """Take messages from the front, as long as their numbers follow one another."""
        taken: list[tuple[int, bytes]] = []
        while self.waiting and len(taken) < most and (not taken or self.waiting[0][0] == taken[-1][0] + 1):
            taken.append(self.waiting.popleft())
        self.claimed += len(taken)
        return taken

    def return_claims(self, claims: Iterable[tuple[int, bytes]]) -> None:
        """Put claimed messages back to where they were."""
        back = list(claims)
        self.claimed -= len(back)
        self.waiting = deque(sorted([*back, *self.waiting]))


class QueueFigures(NamedTuple):
    """What a queue holds at one moment."""

    depth: int
    bytes: int
    claimed: int
    pushed: int
    dead: int


class MemoryHost:
    """A QueueHost without a server. `hold()` lets commits pile up until `release()`, as a slow server would."""

    def __init__(self, namespace: str, clock: Clock | None = None) -> None:
        self.namespace = namespace
        self.clock = clock or SystemClock()
        self.lock = threading.RLock()
        self.held = False
        self.queues: dict[str, MemoryQueue] = {}
        self.loops: dict[LoopKey, LoopRecord] = {}
        self.tenures: list[MemoryTenure] = []
        self.clock.subscribe(self.ring_all)

    async def open(self, spec: TenureSpec) -> Tenure:
        """See QueueHost."""
        return self.incarnate(spec)

    async def close(self, tenure: Tenure) -> None:
        """See QueueHost."""
        self.forget(tenure)

    async def stop(self) -> None:
        """See QueueHost."""
        for tenure in list(self.tenures):
            self._end(tenure, TenureLost("the queues were stopped", reason="stopped"))

    def incarnate(self, spec: TenureSpec) -> MemoryTenure:
        """Do what `open` does, without an event loop. A loop that writes to a queue is entered as its writer."""
        with self.lock:
            record = self._record(spec)
            if record.tenure is not None:
                self._end(record.tenure, TenureLost(f"{spec.key} has a newer instance", loop=str(spec.key)))
            record.inc += 1
            for name, limits in spec.writes.items():
                self.queue(name).limits = limits
                if not record.completed:
                    self.enter_writers({name: [spec.key]})
            record.tenure = tenure = MemoryTenure(self, spec, record)
            self.tenures.append(tenure)
            return tenure

    def forget(self, tenure: Tenure) -> None:
        """Do what `close` does, without an event loop."""
        with self.lock:
            for own in [each for each in self.tenures if each is tenure]:
                self._end(own, None)

    def enter_writers(self, writers: Mapping[str, Iterable[LoopKey]]) -> None:
        """Say who will write to which queues, so that no queue ends before all have opened."""
        with self.lock:
            for name, keys in writers.items():
                queue = self.queue(name)
                queue.writers.update(keys)
                queue.had_writer = True

    def drop_loop(self, key: LoopKey) -> None:
        """Forget a loop's state and its completion (`restart --fresh`)."""
        with self.lock:
            record = self.loops.pop(key, None)
            if record is not None and record.tenure is not None:
                self._end(record.tenure, TenureLost(f"{key} was started afresh", loop=str(key)))

    def queue(self, name: str) -> MemoryQueue:
        """Return a queue, new if need be."""
        return self.queues.setdefault(name, MemoryQueue())

    def push(self, name: str, items: Iterable[bytes]) -> None:
        """Push from outside of all loops."""
        with self.lock:
            for item in items:
                self.queue(name).add(item)
            self.ring_all()

    def figures(self, name: str) -> QueueFigures:
        """Return what a queue holds."""
        with self.lock:
            queue = self.queue(name)
            return QueueFigures(queue.depth, queue.size, queue.claimed, queue.tail - 1, len(queue.dead))

    def peek(self, name: str) -> list[bytes]:
        """Return the messages that wait, oldest first, encoded."""
        with self.lock:
            return [item for _, item in self.queue(name).waiting]

    def hold(self) -> None:
        """Let no commit through until `release`."""
        with self.lock:
            self.held = True

    def release(self, commits: int | None = None) -> None:
        """Let commits through again: all from now on, or just so many of those that wait."""
        with self.lock:
            self.held = commits is not None
            self.flush(commits)

    def flush(self, most: int | None = None) -> None:
        """Commit what waits for a release or for room; called with the lock held."""
        moved = True
        while moved:
            moved = False
            for tenure in self.tenures:
                while (most is None or most > 0) and tenure.commit_next(forced=most is not None):
                    moved = True
                    most = None if most is None else most - 1
        self.ring_all()

    def ring_all(self) -> None:
        """Have everybody look again."""
        for tenure in tuple(self.tenures):
            tenure.wake()

    def _record(self, spec: TenureSpec) -> LoopRecord:
        record = self.loops.setdefault(spec.key, LoopRecord(spec.epoch))
        if record.epoch > spec.epoch:
            raise TenureLost(
                f"{spec.key} has epoch {record.epoch}, above {spec.epoch}", loop=str(spec.key), epoch=record.epoch
            )
        if record.epoch < spec.epoch:
            record.epoch, record.inc = spec.epoch, -1
        return record

    def _end(self, tenure: MemoryTenure, lost: TenureLost | None) -> None:
        self.tenures.remove(tenure)
        record = self.loops.get(tenure.key)
        if record is not None and record.tenure is tenure:
            record.tenure = None
        tenure.end(lost or TenureLost(f"{tenure.key} was closed", reason="closed", loop=str(tenure.key)))
        self.ring_all()
