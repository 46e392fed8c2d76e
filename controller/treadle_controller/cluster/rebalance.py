"""Gentle rebalancing: after an agent has joined, one move at a time, and none without a reason.

Two things are reasons: replicas of one loop that share a host while another could take one of them, and an agent
that is nearly full while another has plenty of room. What hangs together (a loop with tails) stays where it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from treadle_controller.cluster import scheduler
from treadle_controller.cluster.fleet import Agent, Fleet
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, ReplicaId, Why

_FULL: Final = 0.9  # of an agent's slots of a pool
_ROOMY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Move:
    """Hand a replica over to another agent."""

    id: ReplicaId
    agent: str
    why: Why


def next_move(loops: Iterable[LoopRecord], assignments: Mapping[ReplicaId, Assignment], fleet: Fleet) -> Move | None:
    """Return the next move among the loops of one workflow, None when all is well."""
    for loop in loops:
        if loop.removed or loop.plan.tails or loop.plan.tail_of or loop.desired is not Desired.RUNNING:
            continue
        held = {id_: one.agent for id_ in loop.replicas if (one := assignments.get(id_)) is not None and one.held}
        move = _spread(loop, held, fleet) or _relieve(loop, held, fleet)
        if move is not None:
            return move
    return None


def _spread(loop: LoopRecord, held: Mapping[ReplicaId, str], fleet: Fleet) -> Move | None:
    counts = Counter(held.values())
    if not counts or max(counts.values()) < 2:
        return None
    target = scheduler.choose(fleet, scheduler.need_of(loop.plan), avoid=set(counts))
    if isinstance(target, Why) or counts[target] >= max(counts.values()) - 1:
        return None
    crowded = max(counts, key=lambda name: (counts[name], name))
    id_ = max(id_ for id_, agent in held.items() if agent == crowded)
    return Move(id_, target, Why("rebalanced", f"{counts[crowded]} replicas share {crowded}, and {target} has room"))


def _relieve(loop: LoopRecord, held: Mapping[ReplicaId, str], fleet: Fleet) -> Move | None:
    pool = loop.plan.pool
    for id_, name in held.items():
        agent = fleet.get(name)
        if agent is None or agent.load(pool) < _FULL:
            continue
        target = scheduler.choose(fleet, scheduler.need_of(loop.plan), avoid=set(held.values()))
        roomy = fleet.get(target) if isinstance(target, str) else None
        if roomy is not None and target not in held.values() and _has_room(roomy, agent, loop):
            return Move(id_, roomy.name, Why("rebalanced", f"{name} is nearly full, and {roomy.name} has room"))
    return None


def _has_room(agent: Agent, than: Agent, loop: LoopRecord) -> bool:
    pool = loop.plan.pool
    return agent.load(pool) <= _ROOMY and agent.load(pool) < than.load(pool)
