"""What a loop counts, always: a few additions an iteration, read from any thread without a lock.

Durations are log2 histograms: bucket `b` counts those from 2^(b-1) to 2^b - 1 nanoseconds. Every execution is in
one; which one is taken from a sample where iterations take some microseconds only (tally.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treadle.loop.incident import KEPT, Incident
from treadle.loop.outcome import LoopError

BUCKETS: Final = 64  # of 64-bit nanoseconds
FAILING_FROM: Final = 3  # failed attempts in a row
_ZEROS: Final = (0,) * BUCKETS
_UNMADE: Final[list[int]] = []  # instead of buckets until the loop's first iteration: see LoopStats.begin


class Health(StrEnum):
    """Whether a node works, as far as its executions show."""

    IDLE = "idle"
    HEALTHY = "healthy"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """The figures of one node at one moment."""

    node: str
    executions: int  # that ended, well or exhausted
    failures: int  # attempts that failed; an execution may have several
    health: Health
    durations: tuple[int, ...]  # of executions that succeeded
    last_error: LoopError | None


@dataclass(frozen=True, slots=True)
class LoopSnapshot:
    """The figures of one loop at one moment."""

    committed: int
    iterations: int
    idle_ticks: int
    errors: int
    in_flight: int
    durations: tuple[int, ...]
    nodes: tuple[NodeSnapshot, ...]
    retries: int = 0
    dead_letters: int = 0  # messages
    incidents: tuple[Incident, ...] = ()  # the last errors, oldest first
    untouched: int = 0  # of those committed, the ones that left nothing to commit


class NodeStats:
    """Counters of one node. A success only adds to its bucket: the number of executions is a sum of those."""

    __slots__ = ("_in_a_row", "_succeeded_before", "durations", "exhausted", "failures", "last_error", "node")

    def __init__(self, node: str) -> None:
        self.node = node
        self.durations = _UNMADE
        self.failures = 0
        self.last_error: LoopError | None = None
        self.exhausted = 0
        self._in_a_row = 0  # failed attempts since the last success; enough of them, once an execution is exhausted
        self._succeeded_before = 0

    def failed(self, error: LoopError, *, exhausted: bool) -> None:
        """Count a failed attempt; `exhausted`: there is no other."""
        succeeded = sum(self.durations)
        in_a_row = self._in_a_row if succeeded == self._succeeded_before else 0
        self.failures += 1
        self.exhausted += exhausted
        self.last_error = error
        self._in_a_row = FAILING_FROM if exhausted else in_a_row + 1
        self._succeeded_before = succeeded

    def snapshot(self) -> NodeSnapshot:
        """Return the figures of this moment."""
        durations = tuple(self.durations) or _ZEROS
        succeeded = sum(durations)
        return NodeSnapshot(
            node=self.node,
            executions=succeeded + self.exhausted,
            failures=self.failures,
            health=self._health(succeeded),
            durations=durations,
            last_error=self.last_error,
        )

    def _health(self, succeeded: int) -> Health:
        if self._in_a_row >= FAILING_FROM and succeeded == self._succeeded_before:
            return Health.FAILING
        return Health.HEALTHY if succeeded else Health.IDLE


_NONE: Final[deque[Incident]] = deque(maxlen=0)  # shared: an empty deque has 624 bytes


class LoopStats:
    """Counters of one loop and its nodes."""

    __slots__ = ("dead_letters", "durations", "errors", "idle_ticks", "incidents", "nodes", "retries", "untouched")

    def __init__(self, nodes: list[str]) -> None:
        self.durations = _UNMADE
        self.idle_ticks = 0
        self.errors = 0  # executions that were exhausted
        self.retries = 0
        self.dead_letters = 0
        self.incidents: deque[Incident] = _NONE
        self.untouched = 0  # iterations that left nothing to commit
        self.nodes = [NodeStats(node) for node in nodes]

    def begin(self) -> bool:
        """Make the buckets; False when they are there. An idle loop goes without them."""
        if self.durations:
            return False
        for node in self.nodes:
            node.durations = [0] * BUCKETS
        self.durations = [0] * BUCKETS
        return True

    def happened(self, incident: Incident) -> None:
        """Keep an error, as one of the last."""
        if self.incidents is _NONE:
            self.incidents = deque(maxlen=KEPT)
        self.incidents.append(incident)

    def snapshot(self, *, committed: int, in_flight: int) -> LoopSnapshot:
        """Return the figures of this moment; the arguments are the tenure's, which knows of Redis."""
        durations = tuple(self.durations) or _ZEROS
        return LoopSnapshot(
            committed=committed + self.untouched,
            iterations=sum(durations),
            idle_ticks=self.idle_ticks,
            errors=self.errors,
            in_flight=in_flight,
            durations=durations,
            nodes=tuple(node.snapshot() for node in self.nodes),
            retries=self.retries,
            dead_letters=self.dead_letters,
            incidents=self._last_incidents(),
            untouched=self.untouched,
        )

    @property
    def executions(self) -> int:
        """All attempts of all nodes so far: it grows with every step forward."""
        return sum(sum(node.durations) + node.failures for node in self.nodes)

    def _last_incidents(self) -> tuple[Incident, ...]:
        try:
            return tuple(self.incidents)
        except RuntimeError:  # another one came in meanwhile; it is there the next time
            return self._last_incidents()
