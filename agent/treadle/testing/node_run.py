"""run_node: one node in a loop of its own, with the inputs that a test hands it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from treadle.clock import DrivenClock
from treadle.data import Idle, LoopComplete, NodeData, Route
from treadle.loop.manager import LoopManager
from treadle.loop.state import VERSION_KEY
from treadle.node import Node, Params, ProducerNode
from treadle.queues.codec import decode, encode, encode_item
from treadle.queues.memory import LoopRecord, MemoryHost
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.testing.failure import LoopFailedError
from treadle.workflow.plan import Input, Plan, QueueLimits, RetryPolicy, Step

NODE: Final = "node"  # the id of the node under test, as its context says
_SOURCE: Final = "inputs"
_ONCE: Final = RetryPolicy(max_attempts=1)  # a test wants to see what its node raises


class Advance(NamedTuple):
    """Among the inputs of `run_node`: moves the clock on, so that what has become due happens."""

    seconds: float


@dataclass(slots=True)
class NodeRun:
    """What a node did."""

    outputs: list[Any] = field(default_factory=list)  # as it returned them, those of finish and on_tick included
    state: dict[str, Any] = field(default_factory=dict)  # what it keeps, committed
    pushed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by queue, through the QueueManager
    completed: bool = False  # a producer returned LoopComplete

    @property
    def items(self) -> list[dict[str, Any]]:
        """The payloads that flow on, in order: lists opened, routes followed, nothing for None."""
        return [dict(data) for output in self.outputs for data in _opened(output)]


def run_node(  # noqa: PLR0913 - each is a fact that some test has to set
    node: type[Node[Any]],
    params: Mapping[str, Any] | Params | None = None,
    inputs: Iterable[Mapping[str, Any] | Advance] = (),
    *,
    state: Mapping[str, Any] | None = None,
    queues: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    clock: DrivenClock | None = None,
    limit: int = 1000,
    patience: int = 100,
    finish: bool = True,
) -> NodeRun:
    """Run a node in a real loop, over queues in memory, and return what it did.

    `inputs` go to a node one by one; a producer is asked until it completes, has returned `limit` items, or had no
    work `patience` times in a row (the clock moves on in between). `state` is what an earlier run left. `queues` are
    those that it may push to and pop from, with the messages in them. `finish=False` ends like a restart, without
    `finish()`. Effect ids are the same in each run. Raises what the node raises.
    """
    clock = clock or DrivenClock()
    checked = params if isinstance(params, Params) else node.params_model.model_validate(dict(params or {}))
    made = node(checked)
    probe = _Probe(made, clock, limit=limit, patience=patience, finish=finish)
    source = None if isinstance(made, ProducerNode) else _Inputs(inputs, clock)
    bench = _Bench(made, clock, source, tuple(queues or ()))
    for queue, messages in (queues or {}).items():
        bench.fill(queue, messages)
    bench.run(state or {}, probe)
    return probe.run


class _Inputs(ProducerNode[Params]):
    """Hands the inputs of a test to the node under test."""

    def __init__(self, inputs: Iterable[Mapping[str, Any] | Advance], clock: DrivenClock) -> None:
        super().__init__(Params())
        self._inputs = deque(inputs)
        self._clock = clock

    def execute(self) -> NodeData | Idle | LoopComplete:
        if not self._inputs:
            return LoopComplete()
        taken = self._inputs.popleft()
        if isinstance(taken, Advance):
            self._clock.advance(taken.seconds)
            return Idle(after=0)  # what is due comes before the next input
        return taken if isinstance(taken, NodeData) else NodeData(dict(taken))


class _Probe:
    """Stands between a node and its loop: writes down what the node returns, and lets nothing flow on."""

    def __init__(self, node: Node[Any], clock: DrivenClock, *, limit: int, patience: int, finish: bool) -> None:
        self.run = NodeRun()
        self.error: BaseException | None = None
        self._clock = clock
        self._limit = limit
        self._patience = patience
        self._idle = 0
        produces = isinstance(node, ProducerNode)
        self._wrap(node, "execute", self._produced if produces else self._returned)
        self._wrap(node, "on_tick", self._came_by_itself)
        self._wrap(node, "finish", self._came_by_itself, skip=not finish)
        for hook in ("open", "close"):
            self._wrap(node, hook, lambda output: output)

    def _wrap(self, node: Node[Any], hook: str, take: Callable[[Any], Any], *, skip: bool = False) -> None:
        original = getattr(node, hook)
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def watched(*arguments: Any) -> Any:
                with self:
                    return None if skip else take(await original(*arguments))

            setattr(node, hook, watched)
            return

        @functools.wraps(original)
        def called(*arguments: Any) -> Any:
            with self:
                return None if skip else take(original(*arguments))

        setattr(node, hook, called)

    def __enter__(self) -> None:
        """Begin to watch a call."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.error is None:
            self.error = error

    def _returned(self, output: Any) -> None:
        self.run.outputs.append(output)

    def _came_by_itself(self, output: Any) -> None:
        if output is not None:
            self.run.outputs.append(output)

    def _produced(self, output: Any) -> Any:
        if output is None or isinstance(output, Idle):
            self._idle += 1
            self._clock.advance(output.after if isinstance(output, Idle) else 0.001)
            return LoopComplete() if self._idle >= self._patience else Idle(after=0)
        self._idle = 0
        if isinstance(output, LoopComplete) or output is LoopComplete:
            self.run.completed = True
            return output
        self.run.outputs.append(output)
        return LoopComplete() if len(self.run.outputs) >= self._limit else {}


class _Bench:
    """A namespace of its own in memory, with one loop that holds the node under test."""

    def __init__(self, node: Node[Any], clock: DrivenClock, source: _Inputs | None, queues: tuple[str, ...]) -> None:
        self._node = node
        self._clock = clock
        self._source = source
        self._queues = queues
        self._host = MemoryHost("test", clock=clock)

    def fill(self, queue: str, messages: Iterable[Mapping[str, Any]]) -> None:
        """Put messages into a queue, for the node to pop."""
        self._host.push(queue, [encode_item(message) for message in messages])

    def run(self, state: Mapping[str, Any], probe: _Probe) -> None:
        """Run the loop to its end and fill in the probe's NodeRun. Raises what the node raised."""
        plan = _plan(self._node, self._source, self._queues)
        spec = _spec(plan, self._node)
        stored = {NODE: {key: encode(value) for key, value in state.items()}}
        # A `life` that is no random one: effect ids are the same in each run.
        self._host.loops[spec.key] = LoopRecord(spec.epoch, life="life", state=stored)
        nodes: dict[str, Node[Any]] = {NODE: self._node}
        if self._source is not None:
            nodes[_SOURCE] = self._source
        tenure = self._host.incarnate(spec)
        outcome = LoopManager(plan, nodes, tenure, clock=self._clock, revision="test").run()
        if probe.error is not None:
            raise probe.error
        if outcome.error is not None:
            raise LoopFailedError(outcome.error.message, loop="test", error=outcome.error)
        committed = self._host.loops[spec.key].state.get(NODE, {})
        probe.run.state = {key: decode(value) for key, value in committed.items() if key != VERSION_KEY}
        probe.run.pushed = {queue: [_payload(item) for item in self._host.peek(queue)] for queue in self._queues}


def _payload(item: bytes) -> dict[str, Any]:
    payload: dict[str, Any] = decode(item)[0]
    return payload


def _plan(node: Node[Any], source: _Inputs | None, queues: tuple[str, ...]) -> Plan:
    uses = type(node).uses or type(node).__name__
    under_test = Step(NODE, "producer", uses=uses, push_queues=queues, pop_queues=queues, retry=_ONCE)
    steps: tuple[Step, ...] = (under_test,)
    if source is not None:
        link = Input(0, None, _SOURCE)
        fed = dataclasses.replace(under_test, kind="blocking", inputs=(link,))
        steps = (Step(_SOURCE, "producer", uses=_SOURCE), fed)
    return Plan(workflow="test", loop="test", steps=steps, digest="")


def _spec(plan: Plan, node: Node[Any]) -> TenureSpec:
    return TenureSpec(
        LoopKey(plan.workflow, plan.loop),
        epoch=1,
        reads=plan.reads,
        writes={queue: QueueLimits() for queue in plan.writes},
        stateful=(NODE,) if node.stateful else (),
    )


def _opened(output: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(output, list | tuple):
        return [data for each in output for data in _opened(each)]
    if isinstance(output, Route):
        return [output.data]
    return [output] if isinstance(output, Mapping) else []
