"""Rollout: how many loops of a workflow may be in the middle of a change at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from treadle_controller.cluster.model import Assignment, LoopRecord, Observed, ReplicaId, State

_UNDER_WAY = (State.ASSIGNED, State.STARTING)


def changing(
    loops: Iterable[LoopRecord], held: Mapping[ReplicaId, Assignment], seen: Mapping[ReplicaId, Observed]
) -> set[str]:
    """Return the loops whose old instance drains, or whose successor has not started yet."""
    return {loop.name for loop in loops if any(_under_way(loop, held.get(id_), seen.get(id_)) for id_ in loop.replicas)}


def is_changed(loop: LoopRecord, assignment: Assignment) -> bool:
    """Whether what runs is not what the document now says. Layout is not part of a digest."""
    return assignment.digest != loop.plan.digest


def _under_way(loop: LoopRecord, assignment: Assignment | None, seen: Observed | None) -> bool:
    if assignment is None or not assignment.held:
        return False
    if assignment.releasing:
        return is_changed(loop, assignment)
    if is_changed(loop, assignment):
        return False  # its turn has not come
    return seen is None or seen.epoch != assignment.epoch or seen.state in _UNDER_WAY
