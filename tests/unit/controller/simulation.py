"""A cluster in one process: the real settling, and agents that do what they are told when it is their turn."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from tests.unit.controller.builders import compiled, fleet
from treadle.workflow.plan import Plan
from treadle_controller.cluster.actions import Place
from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.journal import Journal
from treadle_controller.leader.settle import Settler
from treadle_controller.store.records import WorkflowRecord

_MOST_ROUNDS = 200


class Cluster:
    """One workflow and its agents. Nothing happens by itself: `settle` decides, `answer` lets agents act."""

    def __init__(self, *agents: Agent, max_parallel: int = 1) -> None:
        self.image = Image("default", fleet=fleet(*agents))
        self.workflow = WorkflowImage(WorkflowRecord("w", 1, "d", 0, 0), compiled(max_parallel=max_parallel))
        self.image.workflows["w"] = self.workflow
        self.unsent: dict[ReplicaId, Place] = {}
        self.journal = Journal("default", 0)
        self.settler = Settler(self.image, self.journal, self.unsent, lambda: 0.0)
        self.running: dict[ReplicaId, int] = {}  # what agents run, by epoch
        self.history: list[str] = []
        self.full_queues: set[str] = set()

    # What people do.

    def apply(self, *plans: Plan) -> None:
        """Apply a revision, as the command does."""
        number = self.workflow.record.revision + 1
        self.workflow.record = replace(self.workflow.record, revision=number)
        self.workflow.compiled = compiled(*plans, max_parallel=self.workflow.compiled.max_parallel)
        names = {plan.loop for plan in plans}
        changed = [replace(old, removed=True) for old in self.workflow.loops.values() if old.name not in names]
        for plan in plans:
            old = self.workflow.loops.get(plan.loop)
            if old is None:
                changed.append(LoopRecord("w", number, plan))
            elif old.removed or old.plan.digest != plan.digest:
                changed.append(replace(old, revision=number, plan=plan, removed=False))
        self.workflow.put_loops(changed)

    def desire(self, desired: Desired, names: Iterable[str] | None = None) -> None:
        chosen = self.workflow.loops if names is None else names
        self.workflow.put_loops([replace(self.workflow.loops[name], desired=desired) for name in chosen])

    def restart(self, name: str, *, fresh: bool = False) -> None:
        loop = self.workflow.loops[name]
        restarts = loop.restarts + 1
        self.workflow.put_loops([replace(loop, restarts=restarts, fresh=restarts if fresh else loop.fresh)])

    def lose(self, name: str) -> None:
        """An agent is judged lost. It may go on: nobody can know."""
        self.image.fleet.agents[name].liveness = Liveness.LOST
        self.image.fleet.changed()

    def come_back(self, name: str) -> None:
        """A lost agent connects again: it drops what is no longer its own."""
        self.image.fleet.agents[name].liveness = Liveness.READY
        self.image.fleet.changed()
        for id_, epoch in list(self.running.items()):
            assignment = self.workflow.assignments.get(id_)
            if assignment is None or not assignment.held or assignment.epoch != epoch:
                del self.running[id_]

    # What the controller and the agents do.

    def settle(self) -> Changes:
        changes = Changes()
        self.settler.settle(self.workflow, changes)
        self.workflow.unsaved.clear()
        for place in changes.placed:
            self.history.append(f"place {place.id.loop}/{place.id.replica} on {place.agent}")
        self.unsent.clear()
        for loop in self.workflow.probes:
            if not self.full_queues & set(self.workflow.probes[loop].queues):
                self.workflow.drained.add(loop)
        return changes

    def answer(self, id_: ReplicaId) -> None:
        """Let the agent of a replica do what it was told last."""
        assignment = self.workflow.assignments.get(id_)
        if assignment is None or not assignment.held or not self._is_live(assignment):
            return
        if assignment.releasing:
            self.running.pop(id_, None)
            self.history.append(f"stop {id_.loop}/{id_.replica}")
            self._see(assignment, State.STOPPED)
            return
        seen = self.workflow.observed.get(id_)
        if seen is None or (seen.epoch, seen.sequence) != (assignment.epoch, assignment.sequence):
            self.running[id_] = assignment.epoch
            paused = assignment.desired is Desired.PAUSED
            self._see(assignment, State.PAUSED if paused else State.RUNNING)

    def report(self, id_: ReplicaId, state: State) -> None:
        """Let an agent report a state by itself."""
        self.running.pop(id_, None)
        self._see(self.workflow.assignments[id_], state)

    def calm_down(self) -> None:
        """Decide and act until nothing changes any more."""
        for _ in range(_MOST_ROUNDS):
            before = (dict(self.workflow.assignments), dict(self.workflow.observed), list(self.workflow.drained))
            self.settle()
            for id_ in list(self.workflow.assignments):
                self.answer(id_)
            if before == (self.workflow.assignments, self.workflow.observed, list(self.workflow.drained)):
                return
        raise AssertionError("the cluster does not calm down")

    def held(self) -> dict[str, Assignment]:
        return {f"{i.loop}/{i.replica}": one for i, one in self.workflow.assignments.items() if one.held}

    def state(self) -> State:
        return self.image.workflow_standing(self.workflow).state

    def _is_live(self, assignment: Assignment) -> bool:
        agent = self.image.fleet.get(assignment.agent)
        return agent is not None and agent.liveness is Liveness.READY

    def _see(self, assignment: Assignment, state: State) -> None:
        self.workflow.observed[assignment.id] = Observed(assignment.epoch, assignment.sequence, state)
