"""Many quick iterations in a row, without a look at the clock or at the boundary after each.

A burst runs what the chain runs: a line of calls, maybe into a queue. Each of its iterations is handed to the commit
as soon as it is done. Whatever is not plain ends the burst in the middle of an iteration, and the caller, who has the
means, finishes it: see `Broken`.
"""

from __future__ import annotations

from enum import Enum
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from treadle.data import NodeData
from treadle.headers import MessageHeaders
from treadle.loop.step import message_of
from treadle.loop.tally import Tally
from treadle.loop.trace import NUMBER
from treadle.queues.codec import MESSAGE_LIMIT, encode_item, encode_quickly
from treadle.queues.tenure import BadItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.loop.run import Run
    from treadle.queues.tenure import Batch, Lane


class Broken(Enum):
    """Why a burst ended in the middle of an iteration."""

    NEW = "it has not begun"
    RAISED = "a node raised something; `resume` raises it"
    LEFT = "`Chain.left` holds what the walk is to carry on"
    TOUCHED = "it ran to its end, and did more than a burst can commit"
    OUTPUT = "the producer returned `output`, which is no mapping"


class Burst:
    """After `fed` or `called`: `ended` is the time, and `broken` says whether an iteration is to be finished."""

    def __init__(self, run: Run, lane: Lane) -> None:
        chain, steps = run.chain, run.steps
        self.broken: Broken | None = None
        self.output: Any = None
        self.ended = 0
        self._error: BaseException | None = None
        self._run = run
        self._lane = lane
        self._tally = Tally(run.stats, chain.lasts)
        self._queue = chain.pushes
        self._line = [(step.at, step.call) for step in (steps[1:] if chain.pushes is None else steps[1:-1])]
        self._end = steps[-1].at

    def length(self, took_ns: int) -> int:
        """Return how long a burst may be after an iteration that took so long; 0: none."""
        length = self._tally.timed(took_ns)
        return min(length, self._lane.room()) if length else 0

    def resume(self) -> None:
        """Raise what was raised in the iteration in which the burst broke."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    @property
    def since(self) -> int:
        """When that iteration began, about."""
        return self.ended - self._tally.typical

    def fed(self, batch: Batch, prefix: str, at: int, length: int, *, asks: bool) -> int:  # noqa: C901, PLR0912, PLR0915 - hot
        """Run an iteration for each message of a batch, from `at` on. Returns where it stopped.

        `asks`: the caller wants to see messages with headers first.
        """
        run, lane, line, queue, end = self._run, self._lane, self._line, self._queue, self._end
        iteration, chain, trace, control, put = run.iteration, run.chain, run.trace, run.control, lane.put
        skipped, encode = self._tally.skipped, encode_quickly
        asks = asks or run.plan.tail_of is not None
        began, pushed, room, broken = perf_counter_ns(), 0, lane.bytes_left(), None
        source, first, items = batch
        number, data = first + at, None
        try:
            for item in items[at : at + length]:
                if type(item) is BadItem or (asks and item[1]):
                    broken = Broken.NEW
                    break
                payload, carried = item
                trace[NUMBER] = number
                iteration.message = headers = MessageHeaders(prefix, source, number, carried)
                data, message = NodeData(payload, headers), None
                for iteration.at, call in line:
                    output = call(data)
                    kind = type(output)
                    if kind is NodeData:
                        data = output
                    elif kind is dict:
                        data = NodeData(output, data.headers)
                    elif output is None:
                        skipped[iteration.at] += 1
                        break
                    else:
                        chain.left, broken = (iteration.at, output, data.headers), Broken.LEFT
                        break
                else:
                    if queue is not None:
                        iteration.at = end
                        if data.headers is headers and carried is None:
                            message = encode((data.payload, None))
                            if len(message) > MESSAGE_LIMIT:
                                message = message_of(data)  # says so
                        else:
                            message = message_of(data)
                        pushed += len(message)
                if broken is not None or iteration.touched:
                    broken = self._leave(broken, message)
                    break
                put(number if queue is None else (number, message))
                number += 1
                if not lane.asked:
                    lane.ask()
                if control.raised or pushed >= room:
                    break
        except BaseException as exc:  # noqa: BLE001 - a node's; it is raised again by `resume`
            broken = self._keep(exc, data)
        done = number - first - at
        iteration.counted += done
        if broken is not None:
            iteration.given = data
        self._finish(broken, done, done, pushed, began)
        return at + done

    def called(self, produce: Callable[[], Any], length: int) -> None:  # noqa: C901, PLR0912, PLR0915 - hot
        """Call the producer so many times, and run what it returns."""
        if self._run.chain.direct:
            self._called_directly(produce, length)
            return
        run, lane, line, queue, end = self._run, self._lane, self._line, self._queue, self._end
        iteration, chain, control, put = run.iteration, run.chain, run.control, lane.put
        skipped = self._tally.skipped
        began, pushed, room, broken = perf_counter_ns(), 0, lane.bytes_left(), None
        done, counted, data = 0, iteration.counted, None
        try:
            for _ in range(length):
                iteration.at = 0
                output = produce()
                kind, message = type(output), None
                if kind is dict:
                    data = NodeData(output)
                elif kind is NodeData:
                    data = output
                else:
                    self.output, broken = output, Broken.OUTPUT
                    break
                for iteration.at, call in line:
                    output = call(data)
                    kind = type(output)
                    if kind is NodeData:
                        data = output
                    elif kind is dict:
                        data = NodeData(output, data.headers)
                    elif output is None:
                        skipped[iteration.at] += 1
                        break
                    else:
                        chain.left, broken = (iteration.at, output, data.headers), Broken.LEFT
                        break
                else:
                    if queue is not None:
                        iteration.at = end
                        message = message_of(data)
                        pushed += len(message)
                if broken is not None or iteration.touched:
                    broken = self._leave(broken, message)
                    break
                done += 1
                if message is not None:
                    put(message)
                    iteration.counted += 1
                    if not lane.asked:
                        lane.ask()
                if control.raised or pushed >= room:
                    break
        except BaseException as exc:  # noqa: BLE001 - a node's; it is raised again by `resume`
            broken = self._keep(exc, data)
        if broken is not None:
            iteration.given = data
        committing = iteration.counted - counted
        run.stats.untouched += done - committing
        self._finish(broken, done, committing, pushed, began)

    def _called_directly(self, produce: Callable[[], Any], length: int) -> None:
        """Do the same where a queue is all that is below the producer."""
        lane, iteration, control, end = self._lane, self._run.iteration, self._run.control, self._end
        put, encode, began, room = lane.put, encode_quickly, perf_counter_ns(), lane.bytes_left()
        data: Any = None
        done, pushed, broken = 0, 0, None
        try:
            for _ in range(length):
                iteration.at = 0
                output = produce()
                if type(output) is dict:
                    data, iteration.at = output, end
                    message = encode((output, None))
                    if len(message) > MESSAGE_LIMIT:
                        message = encode_item(output)  # says so
                elif type(output) is NodeData:
                    data, iteration.at = output, end
                    message = message_of(output)
                else:
                    self.output, broken = output, Broken.OUTPUT
                    break
                pushed += len(message)
                if iteration.touched:
                    broken = self._leave(None, message)
                    break
                done += 1
                put(message)
                iteration.counted += 1
                if not lane.asked:
                    lane.ask()
                if control.raised or pushed >= room:
                    break
        except BaseException as exc:  # noqa: BLE001 - a node's; it is raised again by `resume`
            broken = self._keep(exc, data)
        if broken is not None:
            iteration.given = NodeData(data) if type(data) is dict else data
        self._finish(broken, done, done, pushed, began)

    def _leave(self, broken: Broken | None, message: bytes | None) -> Broken:
        """Leave an iteration to the caller; what a queue step pushed last joins what else it did."""
        if broken is not None:
            return broken
        at = self._run.iteration.at
        if message is not None:
            self._run.iteration.push(self._queue or "", message)
        elif at != self._end:
            self._tally.skipped[at] -= 1  # counted with those that are over
        return Broken.TOUCHED

    def _keep(self, error: BaseException, data: Any) -> Broken:
        """Keep what was raised until the caller resumes; the encoder's own errors are told in our words."""
        self._error = error
        self._run.iteration.since = perf_counter_ns()
        if self._queue is not None and self._run.iteration.at == self._end:
            try:
                if type(data) is dict:
                    encode_item(data)
                else:
                    message_of(data)
            except BaseException as exc:  # noqa: BLE001 - the same once more
                self._error = exc
        return Broken.RAISED

    def _finish(self, broken: Broken | None, done: int, committing: int, pushed: int, began: int) -> None:
        self.broken = broken
        self.ended = perf_counter_ns()
        if committing:
            self._lane.count(committing, pushed)
        at, reached = self._run.iteration.at, 0
        if broken is Broken.RAISED:
            reached = at
        elif broken in {Broken.LEFT, Broken.TOUCHED}:
            reached = at + 1
        self._tally.burst(done, self.ended - began if broken is None else done * self._tally.typical, reached)
