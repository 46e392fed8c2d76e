"""What the LoopManager is measured against: the same node objects, called by hand, with the least instrumentation.

Per node: try/except, two `perf_counter_ns`, counters and a log2 histogram. No plan, no routing, no state, no
commits, no control: what a careful author would write around four calls.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle import Node


class Figures:
    """Counters of one node."""

    __slots__ = ("durations", "executions", "failures", "last_error")

    def __init__(self) -> None:
        self.executions = 0
        self.failures = 0
        self.last_error: str | None = None
        self.durations = [0] * 64


def iterate(producer: Node[Any], nodes: Sequence[Node[Any]], iterations: int) -> list[Figures]:
    """Call the producer and the nodes below it so many times."""
    produce, first = producer.execute, Figures()
    line = [(node.execute, Figures()) for node in nodes]
    for _ in range(iterations):
        start = perf_counter_ns()
        try:
            data = produce()
        except Exception as exc:
            first.failures += 1
            first.last_error = repr(exc)
            raise
        first.durations[(perf_counter_ns() - start).bit_length()] += 1
        first.executions += 1
        for execute, figures in line:
            start = perf_counter_ns()
            try:
                data = execute(data)
            except Exception as exc:
                figures.failures += 1
                figures.last_error = repr(exc)
                raise
            figures.durations[(perf_counter_ns() - start).bit_length()] += 1
            figures.executions += 1
    return [first, *(figures for _, figures in line)]


async def iterate_async(producer: Node[Any], nodes: Sequence[Node[Any]], iterations: int) -> list[Figures]:
    """Do the same with `async def` nodes."""
    produce, first = producer.execute, Figures()
    line = [(node.execute, Figures()) for node in nodes]
    for _ in range(iterations):
        start = perf_counter_ns()
        try:
            data = await produce()
        except Exception as exc:
            first.failures += 1
            first.last_error = repr(exc)
            raise
        first.durations[(perf_counter_ns() - start).bit_length()] += 1
        first.executions += 1
        for execute, figures in line:
            start = perf_counter_ns()
            try:
                data = await execute(data)
            except Exception as exc:
                figures.failures += 1
                figures.last_error = repr(exc)
                raise
            figures.durations[(perf_counter_ns() - start).bit_length()] += 1
            figures.executions += 1
    return [first, *(figures for _, figures in line)]
