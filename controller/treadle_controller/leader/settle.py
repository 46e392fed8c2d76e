"""Settling one workflow: the reconciler's actions, done in memory and noted in the round's changes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from msgspec.structs import replace

from treadle_controller.cluster import halt
from treadle_controller.cluster.actions import Action, Drop, Free, Place, Probe, Release, Update, Wait
from treadle_controller.cluster.model import Assignment, Desired, ReplicaId, State, Why
from treadle_controller.cluster.reconciler import reconcile
from treadle_controller.cluster.rollout import RolloutState
from treadle_controller.leader.changes import Changes
from treadle_controller.leader.image import Image, Probing, WorkflowImage
from treadle_controller.leader.journal import Journal

_MOST_PASSES: Final = 16  # a workflow needs three or four; more means that two rules undo each other


class Settler:
    """Applies actions to the image. `unsent` are placements that Redis has not admitted yet; few agents know theirs."""

    def __init__(
        self, image: Image, journal: Journal, unsent: dict[ReplicaId, Place], clock: Callable[[], float]
    ) -> None:
        self._image = image
        self._journal = journal
        self._unsent = unsent
        self._clock = clock

    def settle(self, workflow: WorkflowImage, changes: Changes, only: Collection[str] | None = None) -> None:
        """Reconcile until nothing is left to do now; `only` names the loops that anything happened to."""
        before = workflow.waits
        why = halt.cause(workflow.loops, workflow.assignments, workflow.observed, only)
        if why is not None:
            self._halt(workflow, why, changes)
            only = None
        for _ in range(_MOST_PASSES):
            if workflow.waiting:
                only = None
            workflow.waits = {}
            actions = reconcile(workflow.picture(), self._image.fleet, only)
            self._forget_probes(workflow, actions)
            for action in actions:
                self._apply(workflow, action, changes)
            if all(isinstance(action, Wait | Probe | Place) for action in actions):
                break  # a placement calls for nothing more: its tails were placed with it
        self._tell_new_waits(workflow, before)

    def _halt(self, workflow: WorkflowImage, why: Why, changes: Changes) -> None:
        """Want nothing of a workflow to run; why is kept with it until somebody starts it."""
        state = workflow.record.state
        if state == RolloutState.PROGRESSING:
            state = int(RolloutState.UNHEALTHY)
        workflow.record = replace(workflow.record, state=state, why_code=why.code, why=why.message)
        changes.judged.append(workflow.record)
        stopped = [replace(loop, desired=Desired.STOPPED) for loop in workflow.loops.values() if not loop.removed]
        workflow.put_loops(stopped)
        changes.loops |= {(workflow.name, loop.name): loop for loop in stopped}
        self._journal.add("workflow", workflow.name, "workflow-stopped", why.message, workflow=workflow.name)

    def _apply(self, workflow: WorkflowImage, action: Action, changes: Changes) -> None:
        match action:
            case Place():
                return self._place(workflow, action, changes)
            case Update():
                return self._update(workflow, action, changes)
            case Release():
                return self._release(workflow, action, changes)
            case Free():
                return self._free(workflow, action, changes)
            case Drop():
                return self._drop(workflow, action, changes)
            case Wait():
                workflow.waits[action.id] = action.why
                return None
            case Probe():
                workflow.probes.setdefault(action.loop, Probing(action.queues, self._clock()))
                return None

    def _place(self, workflow: WorkflowImage, action: Place, changes: Changes) -> None:
        old, loop = workflow.assignments.get(action.id), action.loop
        new = Assignment(
            action.id,
            action.agent,
            held=True,
            epoch=self._image.next_epoch(),
            sequence=old.sequence + 1 if old is not None else 1,
            revision=loop.revision,
            digest=loop.plan.digest,
            desired=loop.desired,
            restarts=loop.restarts,
            committed=old.committed if old is not None else 0,
            errors=old.errors if old is not None else 0,
            code=self._image.fleet.code_of(action.agent, loop.plan) or "",
        )
        workflow.moves.pop(action.id, None)
        changes.epoch = new.epoch
        workflow.plans[action.id] = action.loop.plan
        self._put(workflow, new, changes)
        self._unsent[action.id] = action
        changes.placed.append(action)
        self._tell(workflow, action.id, "loop-placed", f"placed on {action.agent} with epoch {new.epoch}")

    def _update(self, workflow: WorkflowImage, action: Update, changes: Changes) -> None:
        old = workflow.assignments[action.id]
        new = replace(old, desired=action.desired, restarts=action.restarts, sequence=old.sequence + 1)
        self._put(workflow, new, changes)
        changes.updated.add(action.id)
        what = f"restart {action.restarts}" if action.restarts != old.restarts else action.desired.name.lower()
        self._tell(workflow, action.id, "loop-updated", f"{new.agent} is told: {what}")

    def _release(self, workflow: WorkflowImage, action: Release, changes: Changes) -> None:
        old = workflow.assignments[action.id]
        new = replace(old, releasing=True, sequence=old.sequence + 1)
        self._put(workflow, new, changes)
        self._tell(workflow, action.id, "loop-draining", f"drained on {new.agent}: {action.why.message}")
        waiting = self._unsent.get(action.id)
        if waiting is not None and not waiting.heard:
            self._free(workflow, Free(action.id, State.STOPPED), changes)
        else:
            changes.let_go.append(new)

    def _free(self, workflow: WorkflowImage, action: Free, changes: Changes) -> None:
        old = workflow.assignments[action.id]
        committed, errors = totals(workflow, old)
        completed = action.state is State.COMPLETED
        new = replace(old, held=False, releasing=False, completed=completed, committed=committed, errors=errors)
        self._put(workflow, new, changes)
        if completed:
            workflow.unsaved.add(action.id)
        self._image.fleet.give(old.agent, workflow.plans[action.id].pool)
        self._unsent.pop(action.id, None)
        workflow.slots_due.update(workflow.plans[action.id].reads)
        changes.let_go.append(new)
        code = f"loop-{action.state.name.lower()}"
        why = action.why.message if action.why is not None else f"{committed} iterations committed"
        self._tell(workflow, action.id, code, f"{action.state.name.lower()} on {old.agent}: {why}")

    def _drop(self, workflow: WorkflowImage, action: Drop, changes: Changes) -> None:
        loop = workflow.drop_loop(action.loop)
        workflow.past.pop(loop.name, None)
        for id_ in self._image.drop_assignments(workflow, loop.name):
            workflow.observed.pop(id_, None)
            workflow.tallies.pop(id_, None)
            workflow.plans.pop(id_, None)
            changes.assignments.pop(id_, None)
        changes.loops.pop((loop.workflow, loop.name), None)
        changes.dropped.append(loop)
        self._journal.add("loop", f"{loop.workflow}/{loop.name}", "loop-removed", "it is gone", workflow=loop.workflow)

    def _put(self, workflow: WorkflowImage, assignment: Assignment, changes: Changes) -> None:
        self._image.put_assignment(workflow, assignment)
        changes.assignments[assignment.id] = assignment

    def _forget_probes(self, workflow: WorkflowImage, actions: list[Action]) -> None:
        """A tail that nobody asks about any more has to be looked at anew the next time."""
        if not workflow.probes and not workflow.drained:
            return
        asked = {action.loop for action in actions if isinstance(action, Probe)}
        releasing = {id_.loop for id_, assignment in workflow.assignments.items() if assignment.releasing}
        asked |= {action.id.loop for action in actions if isinstance(action, Release | Update)} | releasing
        workflow.probes = {loop: probing for loop, probing in workflow.probes.items() if loop in asked}
        workflow.drained &= asked

    def _tell(self, workflow: WorkflowImage, id_: ReplicaId, code: str, message: str) -> None:
        self._journal.add("loop", str(id_), code, message, workflow=workflow.name)

    def _tell_new_waits(self, workflow: WorkflowImage, before: dict[ReplicaId, Why]) -> None:
        for id_, why in workflow.waits.items():
            if before.get(id_) != why and not _is_passing(why):
                self._tell(workflow, id_, "loop-waits", f"{why.code}: {why.message}")


def totals(workflow: WorkflowImage, assignment: Assignment) -> tuple[int, int]:
    """Return the iterations that a replica committed and its errors, as far as known."""
    seen = workflow.observed.get(assignment.id)
    committed = getattr(seen.report, "committed", 0) if seen is not None else 0
    tally = workflow.tallies.get(assignment.id)
    errors, untouched = (0, 0) if tally is None else (tally.errors, tally.untouched)
    return max(assignment.committed, committed + untouched), max(assignment.errors, errors)


def _is_passing(why: Why) -> bool:
    return why.code in ("loop-drains-first", "tail-drains", "rollout", "tail-waits")
