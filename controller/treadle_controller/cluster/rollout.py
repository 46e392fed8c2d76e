"""Rollout: how a new revision reaches its loops, when it counts as healthy, and when it goes back.

    PROGRESSING --every touched loop is steady--> HEALTHY
        |--no progress within the deadline, or a loop failed for good--> RETURNED   (the last healthy one is applied)
        |                                                           '--> UNHEALTHY  (there is none, or it can't go back)
        '--another revision is applied--> SUPERSEDED

A loop is steady once it has committed since it started, or has run for `CALM_S` without a failing node: one that
raises at once runs for a moment, too. Each loop that becomes steady for the first time is progress.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Compiled
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State, Why
from treadle_controller.cluster.phase import is_finished

CALM_S: Final = 2.0
MOST_LOOKED_AT: Final = 2_000  # loops at a time: the controller has other things to do meanwhile
_UNDER_WAY: Final = (State.ASSIGNED, State.STARTING)
_TROUBLED: Final = (State.BACKOFF, State.ERROR)


class RolloutState(IntEnum):
    """What became of a revision. The numbers are those of the wire."""

    PROGRESSING = 10
    HEALTHY = 20
    UNHEALTHY = 30
    RETURNED = 40
    SUPERSEDED = 50


@dataclass(slots=True)
class Rollout:
    """The rollout of a workflow's newest revision, as it is watched; `since` is the time of the last progress."""

    revision: int
    since: float
    pending: deque[str] | None = None  # loops that are not steady yet, in turn; known from the first look on
    total: int = 0
    # By replica: its run, since when, and what had been committed when the run's first figures came.
    seen: dict[ReplicaId, tuple[tuple[int, int], float, int | None]] = field(default_factory=dict)

    @property
    def steady(self) -> int:
        """How many of its loops have become steady."""
        return self.total - len(self.pending) if self.pending is not None else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at a rollout came to."""

    state: RolloutState
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What is looked at: the loops of a workflow, who holds them, what they report, and the last healthy revision."""

    loops: Mapping[str, LoopRecord]
    assignments: Mapping[ReplicaId, Assignment]
    observed: Mapping[ReplicaId, Observed]
    waits: Mapping[ReplicaId, Why]
    healthy: int = 0


def touched(loops: Iterable[LoopRecord], healthy: int) -> tuple[LoopRecord, ...]:
    """Return the loops that came with a revision after the last healthy one."""
    return tuple(loop for loop in loops if loop.revision > healthy and not loop.removed)


def look(rollout: Rollout, scene: Scene, *, now: float, deadline_s: float, most: int = MOST_LOOKED_AT) -> Verdict:
    """Judge a rollout; remembers in it what became steady. Looks at `most` loops, at the others the next time."""
    if rollout.pending is None:
        rollout.pending = deque(loop.name for loop in touched(scene.loops.values(), scene.healthy))
        rollout.total = len(rollout.pending)
    pending = rollout.pending
    for _ in range(min(most, len(pending))):
        loop = scene.loops.get(pending[0])
        if loop is None or loop.removed or _is_steady(rollout, loop, scene, now):
            pending.popleft()
            rollout.since = now
            continue
        failed = _failed(loop, scene)
        if failed is not None:
            return Verdict(RolloutState.UNHEALTHY, failed)
        pending.rotate(-1)
    if not pending:
        return Verdict(RolloutState.HEALTHY)
    if now - rollout.since >= deadline_s:
        return Verdict(RolloutState.UNHEALTHY, _overdue(scene.loops[pending[0]], scene, deadline_s))
    return Verdict(RolloutState.PROGRESSING)


def cannot_go_back(new: Compiled, old: Compiled, node_types: Mapping[str, NodeType]) -> tuple[str, ...]:
    """Return why an older revision could not take over the state that a newer one may have written, node by node."""
    before = {(plan.loop, step.node): step.uses for plan in old.plans for step in plan.steps}
    reasons = []
    for plan in new.plans:
        for step in plan.steps:
            newer = node_types.get(step.uses or "")
            older = node_types.get(before.get((plan.loop, step.node)) or "")
            if newer is None or older is None or not (newer.stateful and older.stateful):
                continue
            if newer.state_version > older.state_version:
                versions = f"from {older.state_version} to {newer.state_version}"
                reasons.append(f"node '{step.node}' raises its state_version {versions}, which can't go back by itself")
    return tuple(reasons)


def changing(
    loops: Iterable[LoopRecord],
    held: Mapping[ReplicaId, Assignment],
    seen: Mapping[ReplicaId, Observed],
    healthy: int = 0,
) -> set[str]:
    """Return the loops whose old instance drains, or whose successor has not started yet or is in trouble."""
    return {
        loop.name
        for loop in loops
        if any(_under_way(loop, held.get(id_), seen.get(id_), healthy) for id_ in loop.replicas)
    }


def is_changed(loop: LoopRecord, assignment: Assignment) -> bool:
    """Whether what runs is not what the document now says. Layout is not part of a digest."""
    return assignment.digest != loop.plan.digest


def _under_way(loop: LoopRecord, assignment: Assignment | None, seen: Observed | None, healthy: int) -> bool:
    if assignment is None or not assignment.held:
        return False
    if assignment.releasing:
        return is_changed(loop, assignment)
    if is_changed(loop, assignment):
        return False  # its turn has not come
    if seen is None or seen.epoch != assignment.epoch or seen.state in _UNDER_WAY:
        return True
    # A bad revision stops at the first loops that it breaks. What was broken before stops nothing.
    return healthy > 0 and loop.revision > healthy and seen.state in _TROUBLED


def _is_steady(rollout: Rollout, loop: LoopRecord, scene: Scene, now: float) -> bool:
    # All of them are looked at: each has a clock of its own that begins when it is first seen to run.
    steady = [_is_steady_replica(rollout, loop, id_, scene, now) for id_ in loop.replicas]
    return all(steady)


def _is_steady_replica(rollout: Rollout, loop: LoopRecord, id_: ReplicaId, scene: Scene, now: float) -> bool:
    assignment = scene.assignments.get(id_)
    if loop.desired is Desired.STOPPED:
        return assignment is None or not assignment.held
    if assignment is None:
        return False
    if is_finished(loop, assignment):
        return True
    seen = scene.observed.get(id_)
    if not assignment.held or is_changed(loop, assignment) or seen is None or seen.epoch != assignment.epoch:
        return False
    if loop.desired is Desired.PAUSED:
        return seen.state is State.PAUSED
    if seen.state is not State.RUNNING or seen.failing:
        rollout.seen.pop(id_, None)
        return False
    run = (seen.epoch, seen.incarnation)
    before = rollout.seen.get(id_)
    if before is None or before[0] != run:
        rollout.seen[id_] = (run, now, seen.committed if seen.measured else None)
        return False
    _, since, committed = before
    if committed is None and seen.measured:
        rollout.seen[id_] = (run, since, seen.committed)
    return (committed is not None and seen.committed > committed) or now - since >= CALM_S


def _failed(loop: LoopRecord, scene: Scene) -> Why | None:
    """Return why a loop of the revision failed for good, if it has."""
    for id_ in loop.replicas:
        assignment, seen = scene.assignments.get(id_), scene.observed.get(id_)
        if assignment is None or not assignment.held or is_changed(loop, assignment) or seen is None:
            continue
        if seen.epoch == assignment.epoch and seen.sequence >= assignment.sequence and seen.state is State.ERROR:
            because = f": {seen.why.message}" if seen.why is not None else ""
            return Why("loop-failed", f"{loop.name} failed for good{because}")
    return None


def _overdue(loop: LoopRecord, scene: Scene, deadline_s: float) -> Why:
    for id_ in loop.replicas:
        assignment, seen = scene.assignments.get(id_), scene.observed.get(id_)
        if (assignment is None or not assignment.held) and id_ in scene.waits:
            return Why("not-placeable", f"{loop.name} could not be placed: {scene.waits[id_].message}")
        if seen is not None and seen.why is not None:
            return Why("not-healthy", f"{loop.name} was not healthy within {deadline_s:g} s: {seen.why.message}")
        if seen is not None and seen.failing:
            return Why("not-healthy", f"{loop.name} was not healthy within {deadline_s:g} s: {seen.failing}")
    return Why("not-healthy", f"{loop.name} was not healthy within {deadline_s:g} s")
