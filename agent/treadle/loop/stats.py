"""What a loop counts, always: a few additions an iteration, read from any thread without a lock.

Durations are log2 histograms: bucket `b` counts those from 2^(b-1) to 2^b - 1 nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treadle.loop.outcome import LoopError

BUCKETS: Final = 64  # of 64-bit nanoseconds


class Health(StrEnum):
    """Whether a node works, as far as its executions show."""

    IDLE = "idle"
    HEALTHY = "healthy"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """The figures of one node at one moment."""

    node: str
    executions: int
    failures: int
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


class NodeStats:
    """Counters of one node. A success only adds to its bucket: the number of executions is a sum of those."""

    __slots__ = ("_succeeded_before", "durations", "failures", "last_error", "node")

    def __init__(self, node: str) -> None:
        self.node = node
        self.durations = [0] * BUCKETS
        self.failures = 0
        self.last_error: LoopError | None = None
        self._succeeded_before = 0

    def failed(self, error: LoopError) -> None:
        """Count a failed execution."""
        self.failures += 1
        self.last_error = error
        self._succeeded_before = sum(self.durations)

    def snapshot(self) -> NodeSnapshot:
        """Return the figures of this moment."""
        durations = tuple(self.durations)
        succeeded = sum(durations)
        return NodeSnapshot(
            node=self.node,
            executions=succeeded + self.failures,
            failures=self.failures,
            health=self._health(succeeded),
            durations=durations,
            last_error=self.last_error,
        )

    def _health(self, succeeded: int) -> Health:
        if self.failures and succeeded == self._succeeded_before:
            return Health.FAILING
        return Health.HEALTHY if succeeded else Health.IDLE


class LoopStats:
    """Counters of one loop and its nodes."""

    __slots__ = ("durations", "errors", "idle_ticks", "nodes", "untouched")

    def __init__(self, nodes: list[str]) -> None:
        self.durations = [0] * BUCKETS
        self.idle_ticks = 0
        self.errors = 0
        self.untouched = 0  # iterations that left nothing to commit
        self.nodes = [NodeStats(node) for node in nodes]

    def snapshot(self, *, committed: int, in_flight: int) -> LoopSnapshot:
        """Return the figures of this moment; the arguments are the tenure's, which knows of Redis."""
        durations = tuple(self.durations)
        return LoopSnapshot(
            committed=committed + self.untouched,
            iterations=sum(durations),
            idle_ticks=self.idle_ticks,
            errors=self.errors,
            in_flight=in_flight,
            durations=durations,
            nodes=tuple(node.snapshot() for node in self.nodes),
        )
