"""One life of a loop: nodes are opened, iterations run until something ends them, nodes are closed."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from treadle.data import NodeData
from treadle.errors import LoopStopping, TenureLost
from treadle.loop import migration
from treadle.loop.boundary import Boundary
from treadle.loop.called import Called
from treadle.loop.dead_letters import dead_letters
from treadle.loop.deadlines import Deadlines
from treadle.loop.failure import Action
from treadle.loop.fed import Fed
from treadle.loop.incident import Incident
from treadle.loop.iteration import Iteration
from treadle.loop.outcome import LoopError, Outcome, loop_error
from treadle.loop.recovery import Abandoned, Recovery
from treadle.loop.state import NodeState
from treadle.loop.step import emitting
from treadle.loop.trace import INSIDE, NUMBER, Trace
from treadle.loop.workshop import Workshop
from treadle.queues.leases import Leases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.clock import Clock
    from treadle.loop.control import Control
    from treadle.loop.modes import Mode
    from treadle.loop.stats import LoopStats
    from treadle.loop.step import Step
    from treadle.loop.tracing import LoopTracer, Tracing
    from treadle.node import Node
    from treadle.queues.tenure import Tenure
    from treadle.workflow.plan import OnExhausted, Plan

logger = logging.getLogger("treadle.loop")

Verdict = Literal["completed", "drained", "stopped", "lost"]

# How long a loop that failed waits for what its earlier iterations have in flight: they were good.
_SETTLE_AFTER_FAILURE_S: Final = 5.0

# How long a loop that is drained waits for room in a full queue.
_ROOM_S: Final = 2.0

_NOTHING: Final = NodeData({})


class LoopFailed(Exception):
    """Carries the error that ends a loop up to where its life is ended."""

    def __init__(self, error: LoopError, on_exhausted: OnExhausted | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.on_exhausted: OnExhausted | None = on_exhausted


class Run:
    """What one life of a loop consists of; `live` is that life."""

    __slots__ = (
        "boundary",
        "chain",
        "chance",
        "clock",
        "control",
        "deadlines",
        "feed",
        "iteration",
        "leases",
        "mode",
        "plan",
        "recovery",
        "revision",
        "stats",
        "steps",
        "tenure",
        "trace",
        "tracer",
        "walk",
    )

    def __init__(  # noqa: PLR0913 - a life has this many parts
        self,
        plan: Plan,
        nodes: Mapping[str, Node[Any]],
        tenure: Tenure,
        *,
        mode: Mode,
        control: Control,
        stats: LoopStats,
        clock: Clock,
        revision: str,
        trace: Trace,
        chance: Callable[[], float],
        tracing: Tracing | None = None,
    ) -> None:
        self.plan = plan
        self.trace = trace
        self.tenure = tenure
        self.mode = mode
        self.control = control
        self.stats = stats
        self.clock = clock
        self.iteration = Iteration(f"{tenure.namespace}/{tenure.key}/{tenure.life}", tenure.iteration)
        self.leases = Leases(tenure)
        self.revision = revision
        self.chance = chance
        self.deadlines = _deadlines(plan, clock, mode)
        self.recovery = Recovery(self)
        self.tracer: LoopTracer | None = None
        workshop = Workshop(self, nodes)
        self.steps: list[Step] = workshop.steps
        self.walk = workshop.walk
        self.chain = workshop.chain
        if tracing is not None:
            from treadle.loop.tracing import LoopTracer  # noqa: PLC0415 - hosts that trace nothing need no OpenTelemetry

            self.tracer = LoopTracer(self, workshop, tracing)
        self.feed: Called | Fed = Fed(self) if self.steps[0].node is None else Called(self)
        self.boundary = Boundary(self)

    async def live(self, on_open: Callable[[], None] | None = None) -> Outcome:
        """Run until the loop ends, whatever the reason; nodes that were opened are closed."""
        if self.tenure.completed:
            return Outcome("completed")
        opened: list[Step] = []
        self.trace[INSIDE] = 1
        try:
            await self._open(opened)
            if on_open is not None:
                on_open()
            verdict = await self.feed.iterate()
            if verdict == "completed":
                verdict = await self._complete()
            return self._outcome(await self._settle(verdict))
        except LoopFailed as failed:
            await self._settle("drained", limit_s=_SETTLE_AFTER_FAILURE_S)
            return Outcome("failed", failed.error, failed.on_exhausted)
        except TenureLost as lost:
            return _lost(lost)
        finally:
            if self.tracer is not None:
                self.tracer.close()
            await self._close(opened)

    def begin(self) -> None:
        """Make what iterations need and an idle loop does not. Whoever is to execute a node calls it first."""
        if not self.stats.begin():
            return
        for step in self.steps:
            step.durations = step.stats.durations
        self.chain.make()

    async def carry_own(self, step: Step, hook: str, *arguments: Any) -> None:
        """Call finish() or on_tick() of a node; what it returns flows on as an iteration without input."""
        tracer = self.tracer
        if tracer is not None:
            tracer.rest()
        self.iteration.message = None
        self.iteration.at = step.at
        self.trace[NUMBER], self.trace[INSIDE] = 0, 1
        self.begin()
        try:
            output = await self._own_output(step, hook, arguments)
            if output is not None:
                await self.walk.carry(step.at, output, None, perf_counter_ns())
        except Abandoned as abandoned:
            self.give_up(abandoned)
        else:
            if output is not None or self.iteration.touched:
                self.commit(())
        finally:
            self.trace[INSIDE] = 0
            if tracer is not None:
                tracer.resting = False

    async def _own_output(self, step: Step, hook: str, arguments: tuple[Any, ...]) -> Any:
        if step.node is None:
            return None
        if self.deadlines is not None:
            self.deadlines.begin()
        call, awaits = self.mode.bind(step.node, getattr(step.node, hook))
        call = partial(_ignoring, call, arguments)
        if step.emit is not None:
            call = emitting(call, step.emit, awaits=awaits)
        try:
            output = call(_NOTHING)
            if awaits:
                output = await output
            self.walk.check(step.at, output)
        except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
            return await self.recovery.output(step, None, exc, (lambda _: call(_NOTHING), awaits))
        return output

    def commit(self, reads: tuple[tuple[str, int, int], ...]) -> None:
        """Hand what the iteration did to the commit pipeline."""
        iteration = self.iteration
        if not (reads or iteration.touched):
            self.stats.untouched += 1
            return
        self.leases.keep()
        # The tenure keeps what it is given; an empty list would be the one that the next iteration pushes to.
        pushes = iteration.pushes or ()
        self.tenure.append((*reads, *iteration.reads), pushes, iteration.changes(), effects=iteration.effects)
        iteration.keep()

    async def mend(self, exc: BaseException) -> bool:
        """Go on with an iteration in which something was raised; False when it was given up.

        Raises LoopFailed, and what no node raised.
        """
        step = self.steps[self.iteration.at]
        try:
            if isinstance(exc, Abandoned):
                raise exc
            data = self.iteration.given if step.at else None
            output = await self.recovery.output(step, data, exc)
            if output is not None:
                await self.walk.carry(step.at, output, None if data is None else data.headers, perf_counter_ns())
        except Abandoned as abandoned:
            self.give_up(abandoned)
            return False
        return True

    def give_up(self, abandoned: Abandoned) -> None:
        """Drop an iteration, or make dead letters of what it popped. Raises LoopFailed."""
        action, error = abandoned.action, abandoned.error
        if self.tracer is not None:
            self.tracer.gave_up(action, error)
        if action is Action.DEAD_LETTER and error is not None:
            self._bury(error)
            return
        self.iteration.drop()
        self.leases.give_back()
        if error is not None:
            raise LoopFailed(error, cast("OnExhausted", action.value)) from abandoned.__cause__

    def _bury(self, error: LoopError) -> None:
        iteration = self.iteration
        popped = [*self.leases.taken]
        if iteration.source is not None:
            popped.insert(0, iteration.source)
        letters = dead_letters(
            popped,
            error,
            namespace=self.tenure.namespace,
            revision=self.revision,
            iteration=iteration.commit_id,
            origin=None if self.tracer is None else self.tracer.origin,
        )
        iteration.drop()
        self.leases.keep()
        self.tenure.append([(queue, number, number) for queue, number, _ in popped], (), dead=letters)
        iteration.counted += 1
        self.stats.dead_letters += len(letters)

    def raise_what_is_no_nodes(self, exc: BaseException) -> None:
        """Raise what was raised to end this process, thread or task, and not by a node."""
        if isinstance(exc, GeneratorExit | LoopFailed) or (self.mode.asynchronous and _cancelled(exc)):
            raise exc
        if isinstance(exc, KeyboardInterrupt) and _interrupts():
            raise exc

    def _refuse(self, step: Step, exc: BaseException) -> None:
        """Take what was raised outside of iterations, where nothing is tried again. Raises LoopFailed."""
        self.raise_what_is_no_nodes(exc)
        self.iteration.drop()
        self.leases.give_back()
        if self.control.ending and isinstance(exc, LoopStopping):
            return
        error = loop_error(exc, node=step.node_id)
        step.stats.failed(error, exhausted=True)
        self.stats.errors += 1
        self.stats.happened(Incident(self.clock.time(), error, ""))
        raise LoopFailed(error) from exc

    async def _open(self, opened: list[Step]) -> None:
        for step in self.steps:
            if step.node is None:
                continue
            try:
                self._give_state(step, step.node)
                opened.append(step)
                await self._call(step, "open")
            except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
                self._refuse(step, exc)

    def _give_state(self, step: Step, node: Node[Any]) -> None:
        if not node.stateful:
            return
        stored = self.tenure.state.get(step.node_id, {})
        upgraded = migration.migrated(step.node_id, node, stored)
        if upgraded is not None:
            self.tenure.append((), (), migration.changes(step.node_id, stored, upgraded))
            self.iteration.counted += 1
        node.state = NodeState(step.node_id, upgraded or stored, self.iteration.change, node.state_version)

    async def _close(self, opened: list[Step]) -> None:
        self.trace[NUMBER], self.trace[INSIDE] = 0, 1
        for step in reversed(opened):
            try:
                await self._call(step, "close")
            except BaseException as exc:  # the others still have to be closed
                self.raise_what_is_no_nodes(exc)
                logger.exception("%s: closing %s failed", self.tenure.key, step.node_id)
                step.stats.failed(loop_error(exc, node=step.node_id), exhausted=True)
        if self.deadlines is not None:
            self.deadlines.close()
        self.mode.close()

    async def _call(self, step: Step, hook: str, *arguments: Any) -> Any:
        if step.node is None:
            return None
        call, awaits = self.mode.bind(step.node, getattr(step.node, hook))
        output = call(*arguments)
        return await output if awaits else output

    async def _complete(self) -> Verdict:
        """Let each node finish, then close the loop as a writer with a last commit."""
        for step in self.steps:
            if not await self.boundary.room():
                return "stopped"
            await self.carry_own(step, "finish")
            if self.control.ending:
                return "stopped" if self.control.stopped else "drained"
        self.tenure.append((), (), completes=True)
        return "completed"

    async def _settle(self, verdict: Verdict, limit_s: float | None = None) -> Verdict:
        """Wait until all that is in flight has committed.

        A loop that is drained does not wait for room in a queue that stays full, perhaps because its reader was
        stopped with it: what it has not committed is repeated.
        """
        self.trace[INSIDE] = 0
        now = self.clock.monotonic()
        deadline = None if limit_s is None else now + limit_s
        moved, in_flight = now, self.tenure.in_flight
        while self.tenure.in_flight and verdict != "stopped":
            if self.tenure.lost is not None:
                return "lost"
            now = self.clock.monotonic()
            if in_flight != self.tenure.in_flight or not self.tenure.blocked:
                moved, in_flight = now, self.tenure.in_flight
            stuck = verdict == "drained" and now - moved >= _ROOM_S
            if self.control.stopped or stuck or (deadline is not None and now >= deadline):
                return "stopped"
            await self.mode.port.wait(_ROOM_S if deadline is None else min(_ROOM_S, deadline - now))
        return verdict

    def _outcome(self, verdict: Verdict) -> Outcome:
        lost = self.tenure.lost
        return Outcome(verdict) if verdict != "lost" or lost is None else _lost(lost)


def _lost(lost: TenureLost) -> Outcome:
    if lost.reason == "dlq-full":
        # Another incarnation would fail at the same message: this is the loop's own end, until somebody makes room.
        return Outcome("failed", LoopError(code="DLQ_FULL", type="DeadLettersFull", message=str(lost)), "fail-loop")
    return Outcome("lost", LoopError(code=lost.reason, type=type(lost).__name__, message=str(lost)))


def _ignoring(call: Callable[..., Any], arguments: tuple[Any, ...], _: Any) -> Any:
    return call(*arguments)


def _deadlines(plan: Plan, clock: Clock, mode: Mode) -> Deadlines | None:
    if plan.iteration_timeout_s is None and all(step.attempt_timeout_s is None for step in plan.steps):
        return None
    return Deadlines(clock, plan.iteration_timeout_s, asynchronous=mode.asynchronous)


def _interrupts() -> bool:
    """Tell whether Ctrl-C ends this thread, as in a test or a script; in hosts it doesn't."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _cancelled(exc: BaseException) -> bool:
    """Tell whether this is our own task being cancelled, and not a node that raised CancelledError by itself."""
    if not isinstance(exc, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
