"""A node whose `on_exhausted` is `stop-workflow` stops all loops of its workflow, until somebody starts them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State, Why

CODE: Final = "stop-workflow"


def cause(
    loops: Mapping[str, LoopRecord],
    assignments: Mapping[ReplicaId, Assignment],
    observed: Mapping[ReplicaId, Observed],
    only: Collection[str] | None = None,
) -> Why | None:
    """Return why the workflow has to stop, if a loop asks for it; `only` names the loops to look at."""
    if not observed:
        return None
    for name in loops if only is None else only:
        loop = loops.get(name)
        for id_ in loop.replicas if loop is not None else ():
            assignment, seen = assignments.get(id_), observed.get(id_)
            if loop is None or assignment is None or seen is None or not _asks(loop, assignment, seen):
                continue
            because = f": {seen.why.message}" if seen.why is not None else ""
            return Why(CODE, f"{name} failed and stops its whole workflow{because}")
    return None


def _asks(loop: LoopRecord, assignment: Assignment, seen: Observed) -> bool:
    """Whether the last word of a replica is that the workflow has to stop, and nobody has answered it yet."""
    if seen.state is not State.ERROR or seen.why is None or seen.why.code != CODE:
        return False
    current = (seen.epoch, assignment.restarts) == (assignment.epoch, loop.restarts)
    wanted = not loop.removed and loop.desired is not Desired.STOPPED
    held = assignment.held and not assignment.releasing and seen.sequence >= assignment.sequence
    return current and held and wanted
