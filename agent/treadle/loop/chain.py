"""The fast path: a plan that is one line of calls. Whatever isn't a plain output is left to the walk."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

from treadle.data import NodeData
from treadle.loop.step import message_of
from treadle.queues.codec import encode_item

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.loop.iteration import Iteration
    from treadle.loop.step import Step

LEFT = 0  # instead of a time: `Chain.left` holds what the walk is to carry on
_NOTHING_LEFT: tuple[int, Any, Any] = (0, None, None)


class Chain:
    """`run(data, then)` executes the line and returns the time of its end, or LEFT. With `awaits`, it is awaited.

    `run` is None when the plan is no such line, and before `make`: a loop that never had work has no closures.
    With `pushes` the line ends in that queue: an iteration that does nothing but push there leaves its item in
    `lone`, which the caller clears before each. With `direct` the queue is the only step below the first, whose dicts
    are taken as they are. `lasts` are the buckets of the durations of the last run, by step.
    """

    __slots__ = ("_iteration", "_linear", "_steps", "awaits", "direct", "lasts", "left", "lone", "pushes", "run")

    def __init__(self, steps: list[Step], iteration: Iteration, *, linear: bool) -> None:
        self._steps = steps
        self._iteration = iteration
        self._linear = linear
        self.left: tuple[int, Any, Any] = _NOTHING_LEFT
        self.lone: bytes | None = None
        self.lasts: list[int] = []
        self.awaits = any(step.awaits for step in steps[1:])
        self.pushes = steps[-1].pushes if linear and not self.awaits else None
        self.direct = self.pushes is not None and len(steps) == 2
        self.run: Callable[[Any, int], Any] | None = None

    def make(self) -> None:
        """Make `run`, once; before the first iteration."""
        self.lasts = self.lasts or [0] * len(self._steps)
        if not self._linear or self.run is not None:
            return
        steps, iteration = self._steps, self._iteration
        line = [(step.at, step.call, step.awaits, step.durations) for step in steps[1:]]
        if self.pushes is not None:
            self.run = _line_to_queue(self, line[:-1], steps[-1], iteration)
        else:
            self.run = (_awaited_line if self.awaits else _called_line)(self, line, iteration)


_Line = list["tuple[int, Callable[[NodeData], Any], bool, list[int]]"]

# Closures that differ in one `await` or in their end, and each time stamp the end of one node and the start of the
# next: these run millions of times, and a coroutine where none is needed would cost a tenth.


def _called_line(chain: Chain, line: _Line, iteration: Iteration) -> Callable[[NodeData, int], int]:
    clock, lasts = perf_counter_ns, chain.lasts

    def run(data: NodeData, then: int) -> int:
        try:
            for iteration.at, call, _, durations in line:
                output = call(data)
                now = clock()
                lasts[iteration.at] = bucket = (now - then).bit_length()
                durations[bucket] += 1
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
            iteration.given, iteration.since = data, then
            raise
        return then

    return run


def _whole(data: Any) -> NodeData:
    return NodeData(data) if type(data) is dict else cast("NodeData", data)


def _line_to_queue(chain: Chain, line: _Line, end: Step, iteration: Iteration) -> Callable[[Any, int], int]:
    clock, lasts, push, queue = perf_counter_ns, chain.lasts, iteration.push, end.pushes or ""
    end_at, end_durations = end.at, end.durations

    def run(data: Any, then: int) -> int:
        try:
            for iteration.at, call, _, durations in line:
                output = call(data)
                now = clock()
                lasts[iteration.at] = bucket = (now - then).bit_length()
                durations[bucket] += 1
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
                    iteration.given = _whole(data)
                    return LEFT
            iteration.at = end_at
            item = encode_item(data) if type(data) is dict else message_of(data)
            if iteration.touched:
                push(queue, item)
            else:
                chain.lone = item
        except BaseException:
            iteration.given, iteration.since = _whole(data), then
            raise
        now = clock()
        lasts[end_at] = bucket = (now - then).bit_length()
        end_durations[bucket] += 1
        return now

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
            iteration.given, iteration.since = data, then
            raise
        return then

    return run
