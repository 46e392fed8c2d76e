"""The steps of a loop a second time, recorded: what an iteration that is traced runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.headers import passed_on
from treadle.loop.doings import Doings
from treadle.loop.step import Step, emitting, pusher, tail_emitter
from treadle.loop.walk import Walk
from treadle.queues.codec import encode_item

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.data import NodeData
    from treadle.loop.recording import Recording
    from treadle.loop.run import Run
    from treadle.loop.table import Table
    from treadle.loop.tracing import LoopTracer
    from treadle.loop.workshop import Workshop
    from treadle.workflow import plan


class Twins:
    """Made when the first iteration is recorded. `lay_out` puts them in the place of the plain ones."""

    def __init__(self, run: Run, workshop: Workshop, tracer: LoopTracer) -> None:
        self._run = run
        self._workshop = workshop
        self._tracer = tracer
        self._steps: list[Step] | None = None
        self._plain_steps, self._plain_walk = run.steps, run.walk
        self._walk: Walk = run.walk

    @property
    def steps(self) -> list[Step]:
        """The recorded steps."""
        if self._steps is None:
            run = self._run
            self._steps = [
                self._twin(step, planned) for step, planned in zip(self._plain_steps, run.plan.steps, strict=True)
            ]
            self._walk = _RecordedWalk(self._steps, self._workshop.table, run, self._tracer)
        return self._steps

    def lay_out(self, recording: Recording) -> None:
        """Have what the run does next recorded."""
        self._run.steps = self.steps
        self._run.walk = self._walk
        self._tell(recording)

    def put_away(self) -> None:
        """Go on with the plain ones."""
        self._run.steps, self._run.walk = self._plain_steps, self._plain_walk
        self._tell(None)

    def _tell(self, recording: Recording | None) -> None:
        for step in self._plain_steps:
            if step.node is not None:
                step.node.queue_manager.recording = recording

    def _twin(self, plain: Step, planned: plan.Step) -> Step:
        run = self._run
        twin = Step(plain.at, plain.node_id, plain.node, plain.stats, plain.handles)
        twin.uses, twin.call, twin.awaits, twin.pushes = plain.uses, plain.call, plain.awaits, plain.pushes
        if plain.node is not None and planned.tail_queue is not None:
            doings = Doings(plain.at, run.iteration, run.leases)
            twin.emit = tail_emitter(planned.tail_queue, doings, self._sends)
            call, awaits = run.mode.bind(plain.node, plain.node.execute)
            twin.call = emitting(call, twin.emit, awaits=awaits)
            self._workshop.limit(twin, planned)
        elif plain.pushes is not None:
            twin.call = self._pushing(planned) if run.chain.pushes else pusher(planned, run.iteration, self._sends)
        if plain.node is not None or plain.at:
            twin.call = self._recorded(twin)
        return twin

    def _pushing(self, planned: plan.Step) -> Callable[[NodeData], NodeData]:
        """Return the call of the queue step that ends a line: it leaves its item where the fast path leaves it.

        A group of commits with one iteration that is not plain is sorted the slow way, as a whole.
        """
        iteration, chain, queue = self._run.iteration, self._run.chain, planned.queue or ""

        def call(data: NodeData) -> NodeData:
            item = encode_item(data.payload, self._sends(queue, passed_on(data.headers)))
            if iteration.touched or iteration.executed is not None:
                iteration.push(queue, item)
            else:
                chain.lone = item
            return data

        return call

    def _sends(self, queue: str, headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
        recording = self._tracer.recording
        return recording.sends(queue, headers) if recording is not None else None if headers is None else dict(headers)

    def _recorded(self, twin: Step) -> Callable[..., Any]:
        call, tracer, recovery = twin.call, self._tracer, self._run.recovery

        def called(*data: Any) -> Any:
            recording = tracer.recording
            if recording is None:
                return call(*data)
            with recording.executing(twin, recovery.attempt):
                return call(*data)

        async def awaited(*data: Any) -> Any:
            recording = tracer.recording
            if recording is None:
                return await call(*data)
            with recording.executing(twin, recovery.attempt):
                return await call(*data)

        return awaited if twin.awaits else called


class _RecordedWalk(Walk):
    """Notes the message that an iteration begins with."""

    def __init__(self, steps: list[Step], table: Table, run: Run, tracer: LoopTracer) -> None:
        super().__init__(steps, table, run.iteration, run.recovery)
        self._tracer = tracer

    async def carry(self, at: int, output: Any, headers: Mapping[str, Any] | None, then: int) -> int:
        recording, message = self._tracer.recording, self._iteration.message
        if recording is not None and not recording.worked:
            recording.worked = True
            if at == 0 and message is not None:
                recording.fed(message)
        return await super().carry(at, output, headers, then)
