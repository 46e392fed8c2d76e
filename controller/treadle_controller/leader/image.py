"""The image: everything that the leader knows, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from treadle.queues.tenure import LoopKey
from treadle.telemetry.counts import Counts
from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Compiled, Plan, Queue
from treadle_controller.cluster import halt
from treadle_controller.cluster.fleet import Fleet
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State, Why
from treadle_controller.cluster.phase import Standing, replica_standing, worst
from treadle_controller.cluster.reconciler import Picture
from treadle_controller.leader.tally import Tally
from treadle_controller.store.records import AgentRecord, ConsumerRecord, QueueRecord, WorkflowRecord


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
    tops: dict[str, int] = field(default_factory=dict)  # how many replicas a loop ever had assigned
    observed: dict[ReplicaId, Observed] = field(default_factory=dict)
    tallies: dict[ReplicaId, Tally] = field(default_factory=dict)  # over all incarnations
    past: dict[str, Counts] = field(default_factory=dict)  # by loop: of replicas that it no longer has
    waits: dict[ReplicaId, Why] = field(default_factory=dict)
    probes: dict[str, Probing] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    was_completed: bool = False
    unsaved: set[ReplicaId] = field(default_factory=set)  # completed, which is not on disk yet
    moves: dict[ReplicaId, str] = field(default_factory=dict)  # replicas that are to go to another agent
    limits_due: bool = True  # Redis has yet to be told the limits of its queues
    slots_due: set[str] = field(default_factory=set)  # queues whose reader slots may no longer be right
    unentered: dict[str, None] = field(default_factory=dict)  # loops that Redis has yet to know as writers
    widest: dict[str, int] = field(default_factory=dict)  # how many replicas a loop was ever meant to have
    _readers: dict[str, list[str]] | None = None  # loops by the queues that they read, once somebody asked
    _queues: tuple[Compiled, dict[str, Queue]] | None = None  # of which revision, by name: the same

    @property
    def name(self) -> str:
        return self.record.name

    def put_loops(self, loops: Iterable[LoopRecord]) -> None:
        """Take over loops and bring all into plan order, those that are to go last."""
        moved = False
        for loop in loops:
            old = self.loops.get(loop.name)
            self._note_writers(loop)
            self._note_slots(old, loop)
            self.loops[loop.name] = loop
            moved = moved or old is None or old.plan is not loop.plan or old.removed != loop.removed
        if moved:
            self._sort_loops()

    def _sort_loops(self) -> None:
        ranks = {plan.loop: rank for rank, plan in enumerate(self.compiled.plans)}
        order = sorted(self.loops.values(), key=lambda loop: ranks.get(loop.name, len(ranks)))
        self.loops = {loop.name: loop for loop in order}

    def drop_loop(self, name: str) -> LoopRecord:
        """Forget a loop; returns it as it was."""
        loop = self.loops.pop(name)
        self._readers = None
        self.unentered.pop(name, None)
        self.slots_due.update(loop.plan.reads)
        return loop

    def readers(self, queue: str) -> Iterator[LoopRecord]:
        """Yield the loops that read a queue, those that are to go too."""
        if self._readers is None:
            self._readers = {}
            for loop in self.loops.values():
                for read in loop.plan.reads:
                    self._readers.setdefault(read, []).append(loop.name)
        yield from (self.loops[name] for name in self._readers.get(queue, ()))

    def _note_writers(self, loop: LoopRecord) -> None:
        """Take note of what has to be entered in Redis; a loop that writes to no queue has nothing to enter."""
        if loop.entered or loop.removed or not loop.plan.writes:
            self.unentered.pop(loop.name, None)
        else:
            self.unentered[loop.name] = None

    def _note_slots(self, old: LoopRecord | None, new: LoopRecord) -> None:
        """Take note of whose slots have to be looked at when a loop takes the place of another."""
        self.widest[new.name] = max(self.widest.get(new.name, 0), new.count)
        if old is None or old.plan is not new.plan:
            self._readers = None
            self.slots_due.update(new.plan.reads, old.plan.reads if old is not None else ())
        elif (old.count, old.desired, old.removed) != (new.count, new.desired, new.removed):
            self.slots_due.update(new.plan.reads)

    def picture(self) -> Picture:
        return Picture(
            self.loops,
            self.assignments,
            self.observed,
            self.tops,
            self.drained,
            self.compiled.max_parallel,
            self.record.healthy,
            self.moves,
        )

    @property
    def waiting(self) -> bool:
        """Whether something waits for something else, so that any change may concern any loop."""
        return bool(self.waits or self.probes or self.drained)

    def queue(self, name: str) -> Queue | None:
        if self._queues is None or self._queues[0] is not self.compiled:
            self._queues = (self.compiled, {queue.name: queue for queue in self.compiled.queues})
        return self._queues[1].get(name)

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
    consumers: dict[LoopKey, ConsumerRecord] = field(default_factory=dict)  # by reader slot
    slots_due: set[str] = field(default_factory=set)  # queues whose consumers changed
    epoch: int = 0  # the last one given out
    mirror_due: set[str] = field(default_factory=set)  # queues whose entry in Redis is old
    mirror_whole: bool = True  # all of them are
    _held: dict[str, dict[ReplicaId, WorkflowImage]] = field(default_factory=dict)  # by agent

    @property
    def loops(self) -> int:
        """How many there are."""
        return sum(len(one.loops) for one in self.workflows.values())

    def is_external(self, queue: str) -> bool:
        """Whether some workflow says that programs outside use a queue."""
        return any(one.mentioned and one.queue.external for one in self.queues.values() if one.queue.name == queue)

    def consumers_of(self, queue: str) -> list[ConsumerRecord]:
        """Return the programs outside that have a reader slot of a queue, by name."""
        found = [one for one in self.consumers.values() if one.queue == queue]
        return sorted(found, key=lambda one: one.name)

    def next_epoch(self) -> int:
        self.epoch += 1
        return self.epoch

    def put_assignment(self, workflow: WorkflowImage, assignment: Assignment) -> None:
        """Add an assignment, or replace the one of the same replica."""
        id_ = assignment.id
        before = workflow.assignments.get(id_)
        if before is not None and before.held:
            self._held[before.agent].pop(id_, None)
            self._count_releasing(before, -1)
        if assignment.held:
            self._held.setdefault(assignment.agent, {})[id_] = workflow
            self._count_releasing(assignment, 1)
        workflow.assignments[id_] = assignment
        workflow.tops[id_.loop] = max(workflow.tops.get(id_.loop, 0), id_.replica + 1)

    def _count_releasing(self, assignment: Assignment, by: int) -> None:
        agent = self.fleet.get(assignment.agent) if assignment.releasing else None
        if agent is not None:
            agent.releasing += by

    def drop_assignments(self, workflow: WorkflowImage, loop: str) -> list[ReplicaId]:
        """Forget who held the replicas of a loop; returns those that there were."""
        ids = [ReplicaId(workflow.name, loop, index) for index in range(workflow.tops.pop(loop, 0))]
        gone = [id_ for id_ in ids if id_ in workflow.assignments]
        for id_ in gone:
            self._held.get(workflow.assignments.pop(id_).agent, {}).pop(id_, None)
        return gone

    def retire(self, workflow: WorkflowImage, id_: ReplicaId) -> None:
        """Forget a replica that its loop no longer has and nobody holds."""
        del workflow.assignments[id_]
        workflow.plans.pop(id_, None)
        workflow.observed.pop(id_, None)
        if (tally := workflow.tallies.pop(id_, None)) is not None:
            workflow.past.setdefault(id_.loop, Counts()).add_counts(tally.total())
        left = (one.replica + 1 for one in workflow.assignments if one.loop == id_.loop)
        workflow.tops[id_.loop] = max(left, default=0)

    def held_by(self, agent: str) -> Iterator[tuple[WorkflowImage, Assignment]]:
        for id_, workflow in list(self._held.get(agent, {}).items()):
            yield workflow, workflow.assignments[id_]

    def standing(self, workflow: WorkflowImage, loop: LoopRecord, id_: ReplicaId) -> Standing:
        """Return what one replica is."""
        if id_ in workflow.unsaved:
            return Standing(State.DRAINING, Why("completing", "it has completed, which is being stored"))
        assignment = workflow.assignments.get(id_)
        agent = self.fleet.get(assignment.agent) if assignment is not None else None
        found = replica_standing(loop, assignment, workflow.observed.get(id_), agent, workflow.waits.get(id_))
        if found.state is State.STOPPED and found.why is None and workflow.record.why_code == halt.CODE:
            return Standing(State.STOPPED, Why(halt.CODE, workflow.record.why))
        return found

    def loop_standing(self, workflow: WorkflowImage, loop: LoopRecord) -> Standing:
        return worst(self.standing(workflow, loop, id_) for id_ in loop.replicas)

    def is_completed(self, workflow: WorkflowImage) -> bool:
        """Whether all loops of a workflow have completed; stops at the first that has not."""
        loops = workflow.loops.values()
        states = (self.standing(workflow, loop, id_).state for loop in loops for id_ in loop.replicas)
        return bool(loops) and all(state is State.COMPLETED for state in states)

    def workflow_standing(self, workflow: WorkflowImage) -> Standing:
        return worst(self.standing(workflow, loop, id_) for loop in workflow.loops.values() for id_ in loop.replicas)

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
