"""A plan, looked at once before it runs: where each step's input comes from, and what lies below a step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from treadle.data import ERROR_HANDLE

if TYPE_CHECKING:
    from treadle.workflow.plan import Input, Join, Plan

_KEPT = 256  # tables, of as many different plans


@dataclass(frozen=True, slots=True)
class Edge:
    """One way into a step. `last_plain`, `last_routed`: nobody after this edge takes the same output, so it may
    have the original; every other edge gets a copy.
    """

    source: int
    handle: str | None
    key: str
    last_plain: bool
    last_routed: bool


@dataclass(frozen=True, slots=True)
class Inflow:
    """All ways into one step."""

    join: Join
    edges: tuple[Edge, ...]


class Shape(NamedTuple):
    """What a table is made from: one step."""

    node: str
    join: Join
    inputs: tuple[Input, ...]


class Table:
    """What the LoopManager looks up about a plan while it runs it. Loops whose plans have one shape share it."""

    __slots__ = ("_below", "_children", "handles", "inflows", "linear")

    def __init__(self, steps: tuple[Shape, ...]) -> None:
        last_plain, last_routed = _last_takers(steps)
        self.inflows = [_inflow(at, step, steps, last_plain, last_routed) for at, step in enumerate(steps)]
        self.handles: list[set[str | None]] = [set() for _ in steps]
        self._children: list[list[int]] = [[] for _ in steps]
        for at, inflow in enumerate(self.inflows):
            for edge in inflow.edges:
                self.handles[edge.source].add(edge.handle)
                self._children[edge.source].append(at)
        self.linear = all(_follows(inflow, at) for at, inflow in enumerate(self.inflows) if at)
        self._below: dict[int, tuple[int, ...]] = {}

    @staticmethod
    def of(plan: Plan) -> Table:
        """Return the table of a plan."""
        return _table(tuple(Shape(step.node, step.join, step.inputs) for step in plan.steps))

    def below(self, at: int) -> tuple[int, ...]:
        """Return all steps that the output of a step can reach, in the order of the plan."""
        known = self._below.get(at)
        if known is None:
            found: set[int] = set()
            todo = [at]
            while todo:
                new = [child for child in self._children[todo.pop()] if child not in found]
                found.update(new)
                todo += new
            known = self._below[at] = tuple(sorted(found))
        return known

    def unsplit_join(self, at: int) -> int | None:
        """Return the first join `all` or `any` that would see only a part of its inputs per item of a step's list."""
        inside = {at, *self.below(at)}
        for step in self.below(at):
            inflow = self.inflows[step]
            if inflow.join != "each" and any(edge.source not in inside for edge in inflow.edges):
                return step
        return None


@lru_cache(_KEPT)
def _table(steps: tuple[Shape, ...]) -> Table:
    return Table(steps)


def _last_takers(steps: tuple[Shape, ...]) -> tuple[dict[int, tuple[int, int]], dict[tuple[int, str], tuple[int, int]]]:
    """Find, per output and per handle of it, the edge that is served last."""
    plain: dict[int, tuple[int, int]] = {}
    routed: dict[tuple[int, str], tuple[int, int]] = {}
    for at, step in enumerate(steps):
        for nth, source in enumerate(_in_order(step)):
            if source.handle != ERROR_HANDLE:
                plain[source.source] = (at, nth)
            if source.handle is not None:
                routed[source.source, source.handle] = (at, nth)
    return plain, routed


def _in_order(step: Shape) -> list[Input]:
    # `any` takes the first arrival and `each` all of them in turn: the order in which the sources run.
    return list(step.inputs) if step.join == "all" else sorted(step.inputs, key=lambda each: each.source)


def _inflow(
    at: int,
    step: Shape,
    steps: tuple[Shape, ...],
    last_plain: dict[int, tuple[int, int]],
    last_routed: dict[tuple[int, str], tuple[int, int]],
) -> Inflow:
    keys = Counter(source.key for source in step.inputs)
    edges = tuple(
        Edge(
            source=source.source,
            handle=source.handle,
            # Two edges into one handle of a join would hide one another: they go by their sources' names.
            key=source.key if keys[source.key] == 1 else steps[source.source].node,
            last_plain=last_plain.get(source.source) == (at, nth),
            last_routed=source.handle is None or last_routed[source.source, source.handle] == (at, nth),
        )
        for nth, source in enumerate(_in_order(step))
    )
    return Inflow(step.join, edges)


def _follows(inflow: Inflow, at: int) -> bool:
    """Tell whether a step simply takes what the step before it returned."""
    return len(inflow.edges) == 1 and inflow.edges[0].source == at - 1 and inflow.edges[0].handle != ERROR_HANDLE
