"""Puts the steps of a run together: node objects get their context, state and queues, and each step its call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.errors import ConfigError
from treadle.loop.chain import Chain
from treadle.loop.context import NodeContext
from treadle.loop.doings import Doings
from treadle.loop.modes import is_async
from treadle.loop.state import NoState
from treadle.loop.step import Step, emitting, pusher, reader, tail_emitter
from treadle.loop.table import Table
from treadle.loop.walk import Walk
from treadle.node import Orchestrator
from treadle.queues.manager import QueueManager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.loop.ports import Port
    from treadle.loop.run import Run
    from treadle.node import Node
    from treadle.workflow import plan


class Workshop:
    """`steps`, `walk` and, when the plan is one line of calls, `chain`."""

    def __init__(self, run: Run, nodes: Mapping[str, Node[Any]]) -> None:
        self._run = run
        self.table = table = Table.of(run.plan)
        self.steps = [self._step(at, step, table, nodes) for at, step in enumerate(run.plan.steps)]
        self.walk = Walk(self.steps, table, run.iteration, run.recovery)
        self.chain = Chain(self.steps, run.iteration, linear=table.linear)

    def _step(self, at: int, planned: plan.Step, table: Table, nodes: Mapping[str, Node[Any]]) -> Step:
        node = None if planned.uses is None else _node(planned.node, nodes)
        iteration = self._run.iteration
        step = Step(at, planned.node, node, self._run.stats.nodes[at], table.handles[at])
        step.uses = planned.uses
        if node is not None:
            self._equip(step, node, planned)
            step.call, step.awaits = self._run.mode.bind(node, node.execute)
            if planned.tail_queue is not None:
                step.emit = tail_emitter(planned.tail_queue, Doings(at, iteration, self._run.leases))
                step.call = emitting(step.call, step.emit, awaits=step.awaits)
        elif planned.kind == "queue":
            step.call, step.pushes = pusher(planned, iteration), planned.queue
        elif at:
            step.awaits = self._run.mode.asynchronous
            manager = self._manager(at, self._run.mode.port, (), (planned.queue or "",))
            step.call = reader(planned, manager, awaits=step.awaits)
        self.limit(step, planned)
        return step

    def limit(self, step: Step, planned: plan.Step) -> None:
        """Give a step the deadline that the plan says, if any."""
        deadlines = self._run.deadlines
        if deadlines is None or not (step.at or step.node) or planned.kind == "queue":
            return
        if planned.attempt_timeout_s is not None or deadlines.iteration_timeout_s is not None:
            cancels = step.awaits and (step.node is None or is_async(step.node.execute))
            step.call = deadlines.watched(step, planned.attempt_timeout_s, cancels=cancels)

    def _equip(self, step: Step, node: Node[Any], planned: plan.Step) -> None:
        run = self._run
        port = run.mode.port_for(node)
        node.context = NodeContext(
            tenure=run.tenure,
            revision=run.revision,
            planned=planned,
            step=step.at,
            iteration=run.iteration,
            port=port,
            control=run.control,
            clock=run.clock,
        )
        node.state = NoState(planned.node)  # a stateful node gets its own when it is opened
        node.queue_manager = self._manager(step.at, port, planned.push_queues, planned.pop_queues)
        node.orchestrator = Orchestrator(node.queue_manager)

    def _manager(self, at: int, port: Port, push_queues: tuple[str, ...], pop_queues: tuple[str, ...]) -> QueueManager:
        run = self._run
        doings = Doings(at, run.iteration, run.leases)
        return QueueManager(
            namespace=run.tenure.namespace,
            push_queues=push_queues,
            pop_queues=pop_queues,
            transaction=doings,
            leases=doings,
            waiting=port,
            stopping=run.control,
            clock=run.clock,
        )


def _node(name: str, nodes: Mapping[str, Node[Any]]) -> Node[Any]:
    node = nodes.get(name)
    if node is None:
        message = f"no node object was made for {name}"
        raise ConfigError(message, node=name)
    return node
