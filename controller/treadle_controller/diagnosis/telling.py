"""What rules say of replicas and nodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from treadle_controller.cluster.model import State
from treadle_controller.cluster.phase import RANK
from treadle_controller.diagnosis import words
from treadle_controller.diagnosis.situation import LoopFacts, NodeFacts, ReplicaFacts
from treadle_controller.diagnosis.verdict import Fact, Verdict

# What a replica does, the most telling first.
_MOST: Final = (
    *("out-of-memory", "commit-refused", "queue-full", "retrying"),
    *("working", "waiting-input", "no-work", "between-turns"),
)


def worst(loop: LoopFacts) -> ReplicaFacts:
    """Return the replica that is worst off."""
    found = min(loop.replicas, key=lambda replica: RANK[replica.state], default=None)
    return found if found is not None else ReplicaFacts(0, State.STOPPED)


def telling(loop: LoopFacts) -> ReplicaFacts:
    """Return the replica that runs and has most to tell."""

    def rank(replica: ReplicaFacts) -> int:
        code = replica.activity.code if replica.activity is not None else ""
        return _MOST.index(code) if code in _MOST else len(_MOST)

    return min((one for one in loop.replicas if one.state is State.RUNNING), key=rank, default=worst(loop))


def because(replica: ReplicaFacts) -> str:
    """Return why a replica is what it is, with the node."""
    where = f"{replica.node}: " if replica.node else ""
    return where + of(replica)


def of(replica: ReplicaFacts) -> str:
    """Return why a replica is what it is."""
    return dot(replica.why.message) if replica.why is not None else "no reason is known"


def dot(text: str) -> str:
    """Return a text in one line without its full stop, to be followed by one."""
    return " ".join(text.split()).rstrip(".") or "no reason is known"


def clause(otherwise: str, verdict: Verdict) -> str:
    """Return a verdict as part of another one's sentence."""
    told = verdict.sentence.rstrip(".")
    return told if verdict.is_cause else f"{otherwise} ({told})"


def placed(loop: LoopFacts, replica: ReplicaFacts) -> tuple[Fact, ...]:
    """Return where a replica is."""
    if not replica.agent:
        return ()
    which = f"{loop.name}/{replica.index}" if len(loop.replicas) > 1 else loop.name
    return (Fact(f"agent {replica.agent}", f"holds {which}, {replica.state.name}"),)


def committed(loop: LoopFacts) -> int:
    """Return the iterations that all replicas committed."""
    return sum(replica.committed for replica in loop.replicas)


def history(loop: LoopFacts, replica: ReplicaFacts, now: float) -> tuple[Fact, ...]:
    """Return how much a loop has done, and when last."""
    last = f", the last one {words.span(max(0.0, now - replica.last_commit))} ago" if replica.last_commit else ""
    return (Fact(f"loop {loop.name}", f"{words.count(committed(loop), 'iteration')} committed{last}"),)


def blocked(loop: LoopFacts, replica: ReplicaFacts) -> tuple[Fact, ...]:
    """Return how long a replica has waited for room, by queue."""
    longest = sorted(replica.blocked, key=lambda each: -each[1])
    waited = [f"{words.span(seconds)} for room in {queue}" for queue, seconds in longest]
    return (Fact(f"loop {loop.name}", f"has waited {words.names(waited)} since it began"),) if waited else ()


def errors(replica: ReplicaFacts) -> tuple[Fact, ...]:
    """Return what failed in each node."""
    return tuple(
        Fact(f"node {node.node}", f"{words.count(node.failures, 'failed attempt')}, the last: {dot(node.error)}")
        for node in replica.nodes
        if node.failures and node.error
    )


def busiest(nodes: Collection[NodeFacts]) -> tuple[NodeFacts | None, float]:
    """Return the node that takes most of the time, and its share."""
    whole = sum(node.seconds for node in nodes)
    if whole <= 0:
        return None, 0.0
    found = max(nodes, key=lambda node: node.seconds)
    return found, found.seconds / whole


def times(nodes: Collection[NodeFacts]) -> tuple[Fact, ...]:
    """Return what each node takes, the one that takes most first."""
    whole = sum(node.seconds for node in nodes)
    taken = sorted((node for node in nodes if node.executions), key=lambda node: -node.seconds)
    return tuple(
        Fact(
            f"node {node.node}",
            f"{node.seconds / whole:.0%} of the time, {words.span(node.seconds / node.executions)} each",
        )
        for node in taken[:5]
        if whole > 0
    )
