"""The fast path: a plan that is one line of calls. Whatever isn't a plain output is left to the walk."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from treadle.data import NodeData

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.loop.iteration import Iteration
    from treadle.loop.step import Step

LEFT = 0  # instead of a time: `Chain.left` holds what the walk is to carry on


class Chain:
    """`run(data, then)` executes the line and returns the time of its end, or LEFT; None: the plan is no such line."""

    __slots__ = ("left", "run")

    def __init__(self, steps: list[Step], iteration: Iteration, *, linear: bool) -> None:
        self.left: tuple[int, Any, Any] = (0, None, None)
        self.run: Callable[[NodeData, int], int] | None = None
        if linear and not any(step.awaits for step in steps[1:]):
            self.run = _line(self, [(step.at, step.call, step.durations) for step in steps[1:]], iteration)


def _line(
    chain: Chain, line: list[tuple[int, Callable[[NodeData], Any], list[int]]], iteration: Iteration
) -> Callable[[NodeData, int], int]:
    # A closure, and each time stamp the end of one node and the start of the next: this runs millions of times.
    clock = perf_counter_ns

    def run(data: NodeData, then: int) -> int:
        at = 0
        try:
            for at, call, durations in line:
                output = call(data)
                now = clock()
                durations[(now - then).bit_length()] += 1
                then = now
                kind = type(output)
                if kind is NodeData:
                    data = output
                elif kind is dict:
                    data = NodeData(output, data.headers)
                elif output is None:
                    return then
                else:
                    chain.left = (at, output, data.headers)
                    return LEFT
        except BaseException:
            iteration.at = at
            raise
        return then

    return run
