"""The forecast: where the loops of a revision would run, found by the reconciler itself on a copy of the picture.

The agents of the copy do at once what they are told, so what comes out is what an apply leads to as long as nothing
else happens meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from treadle.workflow.plan import Pool
from treadle_controller.cluster.actions import Action, Drop, Free, Place, Probe, Release, Update, Wait
from treadle_controller.cluster.fleet import Fleet
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State, Why
from treadle_controller.cluster.reconciler import Picture, reconcile

_MOST_PASSES: Final = 12
_ALL_AT_ONCE: Final = 1_000_000  # the order of a rollout does not change where it ends


@dataclass(slots=True)
class _Copy:
    fleet: Fleet
    loops: dict[str, LoopRecord]
    assignments: dict[ReplicaId, Assignment]
    observed: dict[ReplicaId, Observed]
    tops: dict[str, int]
    pools: dict[ReplicaId, Pool]
    drained: set[str] = field(default_factory=set)
    waits: dict[ReplicaId, Why] = field(default_factory=dict)


def forecast(picture: Picture, fleet: Fleet, pools: Mapping[ReplicaId, Pool]) -> dict[ReplicaId, str | Why]:
    """Return for each replica its agent, or why it has none. `pools` are those that held replicas take slots of."""
    copy = _Copy(
        fleet.copy(),
        dict(picture.loops),
        dict(picture.assignments),
        dict(picture.observed),
        dict(picture.tops),
        dict(pools),
    )
    for _ in range(_MOST_PASSES):
        copy.waits.clear()
        actions = reconcile(
            Picture(copy.loops, copy.assignments, copy.observed, copy.tops, copy.drained, max_parallel=_ALL_AT_ONCE),
            copy.fleet,
        )
        for action in actions:
            _carry_out(copy, action)
        if all(isinstance(action, Wait) for action in actions):
            break
    found: dict[ReplicaId, str | Why] = {id_: one.agent for id_, one in copy.assignments.items() if one.held}
    return {**copy.waits, **found}


def _carry_out(copy: _Copy, action: Action) -> None:
    match action:
        case Place():
            _place(copy, action)
        case Update():
            one = replace(copy.assignments[action.id], desired=action.desired, restarts=action.restarts)
            _see(copy, replace(one, sequence=one.sequence + 1))
        case Release() | Free():
            one = copy.assignments[action.id]
            copy.assignments[action.id] = replace(one, held=False, releasing=False)
            copy.fleet.give(one.agent, copy.pools[action.id])
        case Wait():
            copy.waits[action.id] = action.why
        case Probe():
            copy.drained.add(action.loop)
        case Drop():
            copy.loops.pop(action.loop, None)


def _place(copy: _Copy, action: Place) -> None:
    before = copy.assignments.get(action.id) or Assignment(action.id)
    copy.pools[action.id] = action.loop.plan.pool
    copy.tops[action.id.loop] = max(copy.tops.get(action.id.loop, 0), action.id.replica + 1)
    _see(
        copy,
        replace(
            before,
            agent=action.agent,
            held=True,
            epoch=before.epoch + 1,
            revision=action.loop.revision,
            digest=action.loop.plan.digest,
            desired=action.loop.desired,
            restarts=action.loop.restarts,
            releasing=False,
            completed=False,
            code=copy.fleet.code_of(action.agent, action.loop.plan) or "",
        ),
    )


def _see(copy: _Copy, one: Assignment) -> None:
    copy.assignments[one.id] = one
    state = State.PAUSED if one.desired is Desired.PAUSED else State.RUNNING
    copy.observed[one.id] = Observed(one.epoch, one.sequence, state)
