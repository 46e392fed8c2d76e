"""What of a loop only goes up, summed over its incarnations and over the agents that ran it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from treadle.v1 import loop_pb2


@dataclass(slots=True)
class NodeCounts:
    """Of one node."""

    executions: int = 0
    failures: int = 0
    durations: list[int] = field(default_factory=list)  # powers of two of nanoseconds

    def add(self, executions: int, failures: int, durations: Iterable[int]) -> None:
        """Add more of it."""
        self.executions += executions
        self.failures += failures
        add_up(self.durations, durations)


@dataclass(slots=True)
class Counts:
    """Of one replica, or of several. `untouched` are iterations that left nothing to commit."""

    errors: int = 0
    retries: int = 0
    restarts: int = 0
    dead_letters: int = 0
    idle_ticks: int = 0
    untouched: int = 0
    durations: list[int] = field(default_factory=list)
    nodes: dict[str, NodeCounts] = field(default_factory=dict)
    blocked: dict[str, float] = field(default_factory=dict)  # seconds, by queue

    def add(self, report: loop_pb2.LoopStatus) -> None:
        """Add all that an agent counted since it began to."""
        self.errors += report.errors
        self.retries += report.retries
        self.restarts += report.restarts
        self.dead_letters += report.dead_letters
        self._add_incarnations(report)
        self._add_incarnations(report.past)

    def add_counts(self, other: Counts) -> None:
        """Add what was counted elsewhere."""
        self.errors += other.errors
        self.retries += other.retries
        self.restarts += other.restarts
        self.dead_letters += other.dead_letters
        self.idle_ticks += other.idle_ticks
        self.untouched += other.untouched
        add_up(self.durations, other.durations)
        for name, node in other.nodes.items():
            self._node(name).add(node.executions, node.failures, node.durations)
        for queue, seconds in other.blocked.items():
            self.blocked[queue] = self.blocked.get(queue, 0.0) + seconds

    def _add_incarnations(self, some: loop_pb2.LoopStatus | loop_pb2.LoopPast) -> None:
        self.idle_ticks += some.idle_ticks
        self.untouched += some.untouched
        add_up(self.durations, some.duration_log2_ns)
        for node in some.nodes:
            self._node(node.node).add(node.executions, node.failures, node.duration_log2_ns)
        for each in some.blocked:
            self.blocked[each.queue] = self.blocked.get(each.queue, 0.0) + each.seconds

    def _node(self, name: str) -> NodeCounts:
        return self.nodes.setdefault(name, NodeCounts())


def add_up(sums: list[int], more: Iterable[int]) -> None:
    """Add numbers to others, place by place."""
    for at, number in enumerate(more):
        if at < len(sums):
            sums[at] += number
        else:
            sums.append(number)
