"""Traces of one loop: decides which of its iterations are recorded, and swaps the tools that run them.

An iteration that is not recorded runs on the plain steps and does not know of any of this. The loop asks when it looks
up from its work (`look`), when a message comes with a context (`goes_on`), and when something was raised (`failing`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from treadle.headers import MessageHeaders
from treadle.loop.failure import Action
from treadle.loop.recording import Recording
from treadle.loop.twins import Twins
from treadle.queues.tenure import BadItem
from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin, read_origin
from treadle.telemetry.sampling import CONTINUED, Budget, Mute, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.loop.outcome import LoopError
    from treadle.loop.run import Run
    from treadle.loop.step import Step
    from treadle.loop.workshop import Workshop
    from treadle.telemetry.span import Span


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a pool host hands to its loops. `sink` takes spans that have ended, from any thread, and never waits."""

    ratio: float
    begun: Budget
    continued: Budget
    afterwards: Budget
    sink: Callable[[list[Span]], None]
    mute: Mute = field(default_factory=Mute)

    @classmethod
    def of(cls, ratio: float, per_second: int, sink: Callable[[list[Span]], None]) -> Tracing:
        """Return it with budgets for a whole host."""
        return cls(ratio, Budget(per_second), Budget(CONTINUED * per_second), Budget(per_second), sink)


class LoopTracer:
    """See the module. `recording` is the iteration under way, None while it is not recorded."""

    def __init__(self, run: Run, workshop: Workshop, tracing: Tracing) -> None:
        self.recording: Recording | None = None
        self.resting = False  # what runs is no iteration with input: finish() or on_tick()
        self._run = run
        self._tracing = tracing
        self._sampler = Sampler(tracing.ratio, tracing.begun, run.chance)
        self._twins = Twins(run, workshop, self)
        self._going_on = False
        self._buried = self._given_up = False
        self._appended_before = 0
        self._uncommitted: dict[int, Recording] = {}  # over, but for the answer to their commit
        workflow, loop, replica = run.tenure.key
        self._name = f"iteration {workflow}/{loop}"
        self._attributes = {
            c.NAMESPACE: run.tenure.namespace,
            c.WORKFLOW: workflow,
            c.LOOP: loop,
            c.REPLICA: replica,
            c.REVISION: run.revision,
            c.EPOCH: run.tenure.epoch,
        }

    @property
    def origin(self) -> Origin | None:
        """Where what comes of the iteration under way comes from, if that is recorded."""
        return None if self.recording is None else self.recording.origin

    # Asked by the loop.

    def look(self, then: int, due: int) -> int:
        """Decide whether the iteration that begins now is recorded; return when to look again."""
        going_on, self._going_on = self._going_on, False
        picked = going_on or self._sampler.picks(sum(self._run.stats.durations), then)
        if picked and not self._tracing.mute.swallows():
            self._begin(then)
        return self.due(then, due)

    def tools(self) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any] | None, bool]:
        """Return what runs until the next look: the producer, the walk, the fast path or None, whether it is direct."""
        run = self._run
        chained = run.chain.run if self.recording is None else None
        return run.steps[0].call, run.walk.carry, chained, run.chain.direct and chained is not None

    def due(self, then: int, due: int) -> int:
        """Return when to look again: after an iteration that is recorded, and often enough for the sampler."""
        if self.recording is not None:
            return 0
        spacing = self._sampler.spacing_ns
        return due if spacing is None else min(due, then + spacing)

    def goes_on(self, carried: Mapping[str, Any]) -> bool:
        """Tell whether a message with these headers goes on with a trace. Then the next look begins to record."""
        origin = read_origin(carried) if c.TRACEPARENT in carried else None
        if origin is None or not origin.sampled or not self._tracing.continued.take(perf_counter_ns()):
            return False
        if self._tracing.mute.swallows():
            return False
        self._going_on = True
        return True

    def failing(self, step: Step, error: BaseException) -> Step:
        """Take in that a step raised, and return the step to try again: recorded from now on, if it was not before."""
        iteration = self._run.iteration
        if self.recording is None and self.resting:
            return step
        if self.recording is None:
            now = perf_counter_ns()
            if not self._tracing.afterwards.take(now) or self._tracing.mute.swallows():
                return step
            recording = self._begin(iteration.began or now)
            recording.mark(c.AFTERWARDS, True)
            recording.worked = True
            self._fed(recording)
            recording.missed(step, (iteration.since if step.at else iteration.began) or now)
            recording.failed(error, now, 1)
        elif not self.recording.blames(step):  # it lies behind the node: what it returned can't be sent on
            if not self.recording.worked:
                self._fed(self.recording)
            self.recording.missed(step, perf_counter_ns())
            self.recording.failed(error, perf_counter_ns(), self._run.recovery.attempt)
        return self._twins.steps[step.at]

    def _fed(self, recording: Recording) -> None:
        """Say which message the iteration is about, if it is about one; it may be unreadable."""
        iteration, namespace = self._run.iteration, self._run.tenure.namespace
        if iteration.source is not None:
            queue, number, item = iteration.source
            carried = None if type(item) is BadItem else item[1]
            recording.fed(MessageHeaders(f"{namespace}/{queue}/", queue, number, carried))
        elif iteration.message is not None:
            recording.fed(iteration.message)

    def rest(self) -> None:
        """Record nothing as long as `resting`: finish() or on_tick() run, on the plain steps."""
        self.ended(perf_counter_ns())
        self.resting = True

    def gave_up(self, action: Action, error: LoopError | None) -> None:
        """Take in that the iteration is given up."""
        if self.recording is not None:
            self._buried, self._given_up = action is Action.DEAD_LETTER, True
            what = action.value if error is None else error.message
            self.recording.gave_up(what, action.value if error is None else error.type)

    def ended(self, then: int) -> None:
        """Take in that an iteration is over, if one was recorded; `then` is when its last node had ended."""
        recording, self.recording = self.recording, None
        if recording is None:
            return
        self._twins.put_away()
        if not recording.worked:
            self._sampler.put_back()
            return
        recording.finish(then or perf_counter_ns())
        settles = self._buried or not self._given_up
        if settles and self._run.tenure.appended > self._appended_before:
            self._uncommitted[id(recording)] = recording
            operation = "dead_letter" if self._buried else c.SETTLE
            self._run.tenure.when_committed(partial(self._committed, recording, operation))
        else:
            self._tracing.sink(recording.spans)

    def close(self) -> None:
        """Let go of all that waits for a commit: the loop is over."""
        self.ended(perf_counter_ns())
        while self._uncommitted:
            _, recording = self._uncommitted.popitem()
            self._tracing.sink(recording.spans)

    def _committed(self, recording: Recording, operation: str, end_ns: int) -> None:
        if self._uncommitted.pop(id(recording), None) is not None:
            recording.committed(operation, end_ns)
            self._tracing.sink(recording.spans)

    def _begin(self, start: int) -> Recording:
        run = self._run
        run.begin()
        attributes = {**self._attributes, c.ITERATION: run.iteration.commit_id}
        recording = Recording(self._name, attributes, start=start, parented=run.plan.tracing == "parent")
        self._appended_before = run.tenure.appended
        self._buried = self._given_up = False
        self.recording = recording
        self._twins.lay_out(recording)
        return recording
