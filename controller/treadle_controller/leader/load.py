"""Loading the image from the store when the controller starts."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection

from treadle.workflow.plan import Plan
from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import LoopRecord
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.store import agents, assignments, consumers, dictionary, workflows
from treadle_controller.store.records import AgentRecord


def load_image(connection: Connection, namespace: str) -> Image:
    """Read everything. All agents count as away until they come back; what they hold stays theirs."""
    image = Image(namespace, epoch=assignments.get_counter(connection, "epoch"))
    image.node_types = {one.uses: one for one in agents.load_node_types(connection)}
    image.queues = {(one.queue.name, one.workflow): one for one in dictionary.load_queues(connection, namespace)}
    image.consumers = {one.key: one for one in consumers.load_consumers(connection, namespace)}
    image.epoch = max([image.epoch, *(one.epoch for one in image.consumers.values())])
    for agent in agents.load_agents(connection):
        image.agents[agent.name] = agent
        image.fleet.put(absent(agent))
    for record in workflows.load_workflows(connection, namespace):
        compiled = workflows.load_compiled(connection, namespace, record.name, record.revision)
        image.workflows[record.name] = WorkflowImage(record, compiled)
    loops: defaultdict[str, list[LoopRecord]] = defaultdict(list)
    for loop in workflows.load_loops(connection, namespace):
        loops[loop.workflow].append(loop)
    for name, found in loops.items():
        image.workflows[name].put_loops(found)
    _load_assignments(connection, image)
    return image


def _load_assignments(connection: Connection, image: Image) -> None:
    plans: dict[tuple[str, int], dict[str, Plan]] = {}
    for assignment in assignments.load_assignments(connection, image.namespace):
        workflow, key = image.workflows[assignment.id.workflow], (assignment.id.workflow, assignment.revision)
        if key not in plans:
            compiled = workflows.load_compiled(connection, image.namespace, *key)
            plans[key] = {plan.loop: plan for plan in compiled.plans}
        image.put_assignment(workflow, assignment)
        workflow.plans[assignment.id] = plan = plans[key][assignment.id.loop]
        if assignment.held:
            image.fleet.take(assignment.agent, plan.pool)
        image.epoch = max(image.epoch, assignment.epoch)


def absent(record: AgentRecord) -> Agent:
    """Return an agent as the scheduler sees it before it has come back."""
    return Agent(
        record.name,
        version=record.version,
        labels=record.labels,
        slots={pool: record.slots.get(pool, 0) for pool in ("thread", "process", "asyncio")},
        uses=frozenset(record.uses),
        liveness=Liveness.DISCONNECTED,
        cordoned=record.cordoned,
        draining=record.drain_until > 0.0,
    )
