"""What happens after a node has raised: further attempts while the iteration waits, or the end of the iteration."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from treadle.data import ERROR_HANDLE, NodeData, Route
from treadle.errors import DataError
from treadle.headers import of_attempt
from treadle.loop.failure import Action, Again, Failure, Place, decide
from treadle.loop.incident import Incident, shortened
from treadle.loop.outcome import LoopError, loop_error
from treadle.loop.trace import INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.loop.run import Run
    from treadle.loop.step import Step

Call = tuple["Callable[[NodeData | None], Any]", bool]  # what to call, and whether its result is to be awaited


class Abandoned(Exception):
    """An iteration is given up. Nodes never see this: it passes from the recovery to the life of the loop."""

    def __init__(self, action: Action, error: LoopError | None = None) -> None:
        super().__init__(action.value)
        self.action = action
        self.error = error


class Recovery:
    """`attempt` is the attempt under way, `again_at` when the next one begins while it is waited for."""

    __slots__ = ("_clock", "_run", "again_at", "attempt")

    def __init__(self, run: Run) -> None:
        self.attempt = 1
        self.again_at: float | None = None
        self._run = run
        self._clock = run.clock

    async def output(self, step: Step, data: NodeData | None, error: BaseException, call: Call | None = None) -> Any:
        """Return what a node returns in the end, after it raised an error at first; None when it is skipped.

        Raises Abandoned.
        """
        tracer = self._run.tracer
        if tracer is not None and call is None:
            self._run.raise_what_is_no_nodes(error)
            step = tracer.failing(step, error)
        function, awaits = call or _call_of(step)
        began, first = self._clock.monotonic(), error
        try:
            while True:
                action = self._judge(step, data, error, began)
                if not isinstance(action, Again):
                    break
                self._undo(step)
                await self._pause(action.after_s)
                self._begin_attempt(step)
                start = perf_counter_ns()
                try:
                    output = function(None if data is None else self._numbered(data))
                    if awaits:
                        output = await output
                    self._run.walk.check(step.at, output)
                except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
                    _forget(exc, first)
                    error = exc
                    continue
                step.durations[(perf_counter_ns() - start).bit_length()] += 1
                return _as_given(output, data)
            return self._instead(step, data, action, error)
        finally:
            self._begin_attempt(step, 1)

    def final(self, step: Step, error: BaseException) -> None:
        """Take an error that lies behind a node, so that it can't be tried again: skip what comes of it, or give up.

        Raises Abandoned.
        """
        action = self._judge(step, None, error, self._clock.monotonic(), final=True)
        if action is not Action.SKIP:
            raise self._abandoned(step, action, error)

    def _judge(
        self, step: Step, data: NodeData | None, error: BaseException, began: float, *, final: bool = False
    ) -> Again | Action:
        run = self._run
        run.raise_what_is_no_nodes(error)
        deadlines = run.deadlines
        failure = Failure(
            error,
            attempt=self.attempt,
            elapsed_s=self._clock.monotonic() - began,
            left_s=None if deadlines is None else deadlines.left_s(),
            ending=run.control.ending,
            final=final or (step.at == 0 and step.node is None),
        )
        planned = run.plan.steps[step.at]
        place = Place(
            producer=step.at == 0,
            fed=run.steps[0].node is None,
            popped=run.iteration.holds_message or bool(run.leases.count),
            catches=planned.catches,
            own=step.node is None,
        )
        verdict = decide(failure, planned.retry, place, chance=run.chance())
        if verdict is not Action.DROP:
            self._count(step, data, error, exhausted=not isinstance(verdict, Again))
        return verdict

    def _count(self, step: Step, data: NodeData | None, error: BaseException, *, exhausted: bool) -> None:
        stats = self._run.stats
        described = loop_error(error, node=step.node_id, attempts=self.attempt)
        step.stats.failed(described, exhausted=exhausted)
        stats.happened(Incident(self._clock.time(), described, shortened(None if data is None else data.payload)))
        if exhausted:
            stats.errors += 1
        else:
            stats.retries += 1

    def _undo(self, step: Step) -> None:
        kept = self._run.iteration.undo(step.at, None if step.node is None else step.node.state)
        if kept is not None:
            self._run.leases.give_back(kept)

    async def _pause(self, seconds: float) -> None:
        """Wait; the iteration waits with it. Raises Abandoned when the loop ends meanwhile."""
        run = self._run
        self.again_at = until = self._clock.monotonic() + seconds
        run.trace[INSIDE] = 0  # no node's code runs
        try:
            while True:
                if run.control.ending or run.tenure.lost is not None:
                    raise Abandoned(Action.DROP)
                left = until - self._clock.monotonic()
                if left <= 0:
                    break
                await run.mode.port.wait(left)
            if run.mode.asynchronous:
                await asyncio.sleep(0)
        finally:
            run.trace[INSIDE] = 1
            self.again_at = None

    def _begin_attempt(self, step: Step, attempt: int | None = None) -> None:
        self.attempt = self.attempt + 1 if attempt is None else attempt
        if step.node is not None:
            step.node.context.attempt = self.attempt

    def _numbered(self, data: NodeData) -> NodeData:
        return NodeData(data.payload, of_attempt(data.headers, self.attempt))

    def _instead(self, step: Step, data: NodeData | None, action: Action, error: BaseException) -> Any:
        if action is Action.SKIP:
            self._undo(step)
            return None
        if action is not Action.ERROR_EDGE:
            raise self._abandoned(step, action, error)
        self._undo(step)
        told = {key: value for key, value in asdict(self._described(step, error)).items() if key != "traceback"}
        payload = {"input": None if data is None else data.payload, "error": told}
        sent = Route(ERROR_HANDLE, NodeData(payload, None if data is None else data.headers))
        if step.emit is None:
            return sent
        try:
            return step.emit(sent, sent.data.headers if isinstance(sent.data, NodeData) else None)
        except DataError as exc:  # its tail takes no more: the input can't be encoded, or is too large
            self.final(step, exc)
            return None

    def _abandoned(self, step: Step, action: Again | Action, error: BaseException) -> Abandoned:
        ends = action if isinstance(action, Action) else Action.FAIL_LOOP
        abandoned = Abandoned(ends, None if ends is Action.DROP else self._described(step, error))
        abandoned.__cause__ = error
        return abandoned

    def _described(self, step: Step, error: BaseException) -> LoopError:
        return loop_error(error, node=step.node_id, attempts=self.attempt)


def _call_of(step: Step) -> Call:
    if step.at:
        return step.call, step.awaits
    return lambda _: step.call(), step.awaits  # a producer takes nothing


def _as_given(output: Any, data: NodeData | None) -> Any:
    """Take the number of the attempt away again: it was for this node only."""
    headers = None if data is None else data.headers
    if isinstance(output, NodeData):
        return _renamed(output, headers)
    if isinstance(output, Route) and isinstance(output.data, NodeData):
        return Route(output.handle, _renamed(output.data, headers))
    return [_as_given(each, data) for each in output] if isinstance(output, list | tuple) else output


def _renamed(output: NodeData, headers: Mapping[str, Any] | None) -> NodeData:
    seen = output.headers
    return NodeData(output.payload, headers) if seen is not None and seen.get("attempt", 1) != 1 else output


def _forget(error: BaseException, first: BaseException) -> None:
    """Cut the first attempt, which is still being handled here, off an error: it is told by itself."""
    while error.__context__ is not None:
        if error.__context__ is first:
            error.__context__ = None
            return
        error = error.__context__
