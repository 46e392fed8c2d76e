"""The image: everything that the leader knows, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Compiled, Plan, Queue
from treadle_controller.cluster.fleet import Fleet
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, Why
from treadle_controller.cluster.phase import Standing, replica_standing, worst
from treadle_controller.cluster.reconciler import Picture
from treadle_controller.store.records import AgentRecord, QueueRecord, WorkflowRecord


@dataclass(slots=True)
class Probing:
    """A tail whose queues are watched until they are empty, or its time is over."""

    queues: tuple[str, ...]
    since: float


@dataclass(slots=True)
class WorkflowImage:
    """One workflow: its newest revision compiled, its loops (removed ones until they are gone), who holds them."""

    record: WorkflowRecord
    compiled: Compiled
    loops: dict[str, LoopRecord] = field(default_factory=dict)
    assignments: dict[ReplicaId, Assignment] = field(default_factory=dict)
    plans: dict[ReplicaId, Plan] = field(default_factory=dict)  # that assignments were made with
    observed: dict[ReplicaId, Observed] = field(default_factory=dict)
    waits: dict[ReplicaId, Why] = field(default_factory=dict)
    probes: dict[str, Probing] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    was_completed: bool = False
    limits_due: bool = True  # Redis has yet to be told the limits of its queues

    @property
    def name(self) -> str:
        return self.record.name

    def put_loops(self, loops: Iterable[LoopRecord]) -> None:
        """Take over loops and bring all into plan order, those that are to go last."""
        self.loops.update({loop.name: loop for loop in loops})
        ranks = {plan.loop: rank for rank, plan in enumerate(self.compiled.plans)}
        order = sorted(self.loops.values(), key=lambda loop: ranks.get(loop.name, len(ranks)))
        self.loops = {loop.name: loop for loop in order}

    def picture(self) -> Picture:
        return Picture(self.loops, self.assignments, self.observed, self.drained, self.compiled.max_parallel)

    def queue(self, name: str) -> Queue | None:
        return next((queue for queue in self.compiled.queues if queue.name == name), None)

    @property
    def desired(self) -> Desired:
        """What all loops are wanted to be, RUNNING when they differ."""
        wanted = {loop.desired for loop in self.loops.values() if not loop.removed}
        return wanted.pop() if len(wanted) == 1 else Desired.RUNNING


@dataclass(slots=True)
class Image:
    """The picture of one namespace."""

    namespace: str
    workflows: dict[str, WorkflowImage] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=Fleet)
    agents: dict[str, AgentRecord] = field(default_factory=dict)
    node_types: dict[str, NodeType] = field(default_factory=dict)
    queues: dict[tuple[str, str], QueueRecord] = field(default_factory=dict)  # by queue and workflow
    epoch: int = 0  # the last one given out

    def next_epoch(self) -> int:
        self.epoch += 1
        return self.epoch

    def held_by(self, agent: str) -> Iterator[tuple[WorkflowImage, Assignment]]:
        for workflow in self.workflows.values():
            for assignment in workflow.assignments.values():
                if assignment.held and assignment.agent == agent:
                    yield workflow, assignment

    def standing(self, workflow: WorkflowImage, loop: LoopRecord, id_: ReplicaId) -> Standing:
        """Return what one replica is."""
        assignment = workflow.assignments.get(id_)
        agent = self.fleet.get(assignment.agent) if assignment is not None else None
        return replica_standing(loop, assignment, workflow.observed.get(id_), agent, workflow.waits.get(id_))

    def loop_standing(self, workflow: WorkflowImage, loop: LoopRecord) -> Standing:
        return worst(self.standing(workflow, loop, id_) for id_ in loop.replicas)

    def workflow_standing(self, workflow: WorkflowImage) -> Standing:
        return worst(self.loop_standing(workflow, loop) for loop in workflow.loops.values())

    def queue_of(self, workflow: WorkflowImage, name: str) -> Queue:
        """Return a queue as a workflow names it, or named it when the loop was made."""
        found = workflow.queue(name)
        if found is not None:
            return found
        record = self.queues.get((name, workflow.name))
        return record.queue if record is not None else Queue(name)

    def offered(self) -> set[str]:
        """Return the node types that agents offer now."""
        return {uses for agent in self.fleet.agents.values() if agent.open for uses in agent.uses}
