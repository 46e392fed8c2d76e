"""What the incarnations of a loop counted that are over: their counts end with them, sums of a loop don't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from treadle_agent.frames import Figures


@dataclass(slots=True)
class NodePast:
    """The same of one node."""

    executions: int = 0
    failures: int = 0
    duration_log2_ns: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Past:
    """All since the record began."""

    errors: int = 0
    retries: int = 0
    dead_letters: int = 0
    idle_ticks: int = 0
    untouched: int = 0
    duration_log2_ns: list[int] = field(default_factory=list)
    nodes: dict[str, NodePast] = field(default_factory=dict)
    blocked: dict[str, float] = field(default_factory=dict)

    def add(self, figures: Figures) -> None:
        """Add the last figures of an incarnation."""
        self.errors += figures.errors
        self.retries += figures.retries
        self.dead_letters += figures.dead_letters
        self.idle_ticks += figures.idle_ticks
        self.untouched += figures.untouched
        self.duration_log2_ns = _sums(self.duration_log2_ns, figures.duration_log2_ns)
        for node in figures.nodes:
            past = self.nodes.setdefault(node.node, NodePast())
            past.executions += node.executions
            past.failures += node.failures
            past.duration_log2_ns = _sums(past.duration_log2_ns, node.duration_log2_ns)
        for queue, seconds in figures.blocked.items():
            self.blocked[queue] = self.blocked.get(queue, 0.0) + seconds


def _sums(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [sum(pair) for pair in zip_longest(one, other, fillvalue=0)]
