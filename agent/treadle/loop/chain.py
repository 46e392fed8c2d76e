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
    """`run(data, then)` executes the line and returns the time of its end, or LEFT. With `awaits`, it is awaited.

    `run` is None when the plan is no such line.
    """

    __slots__ = ("awaits", "left", "run")

    def __init__(self, steps: list[Step], iteration: Iteration, *, linear: bool) -> None:
        self.left: tuple[int, Any, Any] = (0, None, None)
        self.awaits = any(step.awaits for step in steps[1:])
        self.run: Callable[[NodeData, int], Any] | None = None
        if linear:
            line = _awaited_line if self.awaits else _called_line
            self.run = line(self, [(step.at, step.call, step.awaits, step.durations) for step in steps[1:]], iteration)


_Line = list["tuple[int, Callable[[NodeData], Any], bool, list[int]]"]

# Two closures that differ in one `await`, and each time stamp the end of one node and the start of the next: these
# run millions of times, and a coroutine where none is needed would cost a tenth.


def _called_line(chain: Chain, line: _Line, iteration: Iteration) -> Callable[[NodeData, int], int]:
    clock = perf_counter_ns

    def run(data: NodeData, then: int) -> int:
        try:
            for iteration.at, call, _, durations in line:
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
                    chain.left = (iteration.at, output, data.headers)
                    iteration.given = data
                    return LEFT
        except BaseException:
            iteration.given = data
            raise
        return then

    return run


def _awaited_line(chain: Chain, line: _Line, iteration: Iteration) -> Callable[[NodeData, int], Any]:
    clock = perf_counter_ns

    async def run(data: NodeData, then: int) -> int:
        try:
            for iteration.at, call, awaits, durations in line:
                output = call(data)
                if awaits:
                    output = await output
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
                    chain.left = (iteration.at, output, data.headers)
                    iteration.given = data
                    return LEFT
        except BaseException:
            iteration.given = data
            raise
        return then

    return run
