"""Gathering what a verdict is made from: out of the leader's picture, its journal and the figures of the queues."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from treadle.queues.stats import QueueStats
from treadle.v1 import loop_pb2
from treadle.workflow import Queue
from treadle_controller.cluster import halt, scheduler
from treadle_controller.cluster.model import Desired, LoopRecord, ReplicaId, State
from treadle_controller.diagnosis import Activity, LoopFacts, NodeFacts, Order, QueueFacts, ReplicaFacts, Situation
from treadle_controller.leader import Leader
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.store import events
from treadle_controller.store.records import QueueRecord

MOST_LOOPS: Final = 200  # that are looked at for one question
_ORDERS: Final = ("loop-stopped", "loop-paused")
_RENEWED_S: Final = 60.0  # after which nothing that waits waits for this any more

_Mentions = Mapping[str, Sequence[QueueRecord]]
_Loops = dict[str, tuple[WorkflowImage, LoopRecord]]


async def gather(leader: Leader, workflow: WorkflowImage, loops: Iterable[LoopRecord]) -> Situation:
    """Return the situation of some loops of a workflow."""
    image = leader.image
    mentions = _mentions(image)
    around = _around(image, workflow, loops, mentions)
    names = {name: found for found, loop in around.values() for name in (*loop.plan.reads, *loop.plan.writes)}
    figures = await leader.link.figures(tuple(names))
    orders = await _orders(leader, around)
    link = leader.link
    facts = {name: _loop(image, name, found, loop, orders.get(name)) for name, (found, loop) in around.items()}
    queues = {
        name: _queue(image.queue_of(found, name), mentions.get(name, ()), figures.get(name), _away(leader, name))
        for name, found in names.items()
    }
    renewed = leader.journal.last_of(leader.name, ("redis-rolled-back",))
    report = link.report
    return Situation(
        now=time.time(),
        loops=facts,
        queues=queues,
        redis="" if link.up else link.problem,
        renewed=renewed.message if renewed is not None and time.time() - renewed.time < _RENEWED_S else "",
        memory=f"{report.used_bytes:,} of {report.limit_bytes:,} bytes"
        if report is not None and report.limit_bytes
        else "",
    )


def full_name(workflow: WorkflowImage, loop: LoopRecord) -> str:
    """Return a loop's name as people write it."""
    return f"{workflow.name}/{loop.name}"


def _around(image: Image, workflow: WorkflowImage, loops: Iterable[LoopRecord], mentions: _Mentions) -> _Loops:
    """Return loops and those that they are joined with by queues, nearest first."""
    found: _Loops = {full_name(workflow, loop): (workflow, loop) for loop in loops}
    waiting = list(found.values())
    for _, loop in waiting:  # which grows
        for queue in (*loop.plan.reads, *loop.plan.writes):
            for name, other in _ends(image, mentions.get(queue, ())):
                if name not in found and len(found) < MOST_LOOPS:
                    found[name] = other
                    waiting.append(other)
    return found


def _ends(image: Image, records: Iterable[QueueRecord]) -> Iterator[tuple[str, tuple[WorkflowImage, LoopRecord]]]:
    """Yield the loops at both ends of a queue."""
    for record in records:
        workflow = image.workflows.get(record.workflow)
        for name in (*record.queue.readers, *record.queue.writers) if workflow is not None else ():
            if workflow is not None and name in workflow.loops:
                loop = workflow.loops[name]
                yield full_name(workflow, loop), (workflow, loop)


def _mentions(image: Image) -> _Mentions:
    """Return who names each queue."""
    found: dict[str, list[QueueRecord]] = {}
    for (name, _), record in image.queues.items():
        if record.mentioned:
            found.setdefault(name, []).append(record)
    return found


async def _orders(leader: Leader, loops: _Loops) -> dict[str, Order]:
    """Return who stopped or paused each loop that is not meant to run."""
    resting = [name for name, (_, loop) in loops.items() if loop.desired is not Desired.RUNNING]
    recent = {name: leader.journal.last_of(name, _ORDERS) for name in resting}
    missing = [name for name, event in recent.items() if event is None]
    namespace = leader.image.namespace
    stored = (
        await leader.store.read(lambda connection: events.last_events(connection, namespace, missing, _ORDERS))
        if missing
        else []
    )
    known = [event for event in (*recent.values(), *stored) if event is not None]
    return {event.name: Order(event.actor, event.time) for event in known}


def _loop(image: Image, name: str, workflow: WorkflowImage, loop: LoopRecord, order: Order | None) -> LoopFacts:
    replicas = tuple(_replica(image, workflow, loop, id_) for id_ in loop.replicas)
    placed = all(replica.state is not State.PENDING for replica in replicas)
    return LoopFacts(
        name=name,
        desired=loop.desired,
        replicas=replicas,
        reads=loop.plan.reads,
        writes=loop.plan.writes,
        order=order,
        removed=loop.removed,
        halted=workflow.record.why if workflow.record.why_code == halt.CODE else "",
        obstacles=() if placed else _obstacles(image, workflow, loop),
    )


def _obstacles(image: Image, workflow: WorkflowImage, loop: LoopRecord) -> tuple[tuple[str, str], ...]:
    tails = [workflow.loops[name].plan for name in loop.plan.tails if name in workflow.loops]
    return tuple(scheduler.obstacles(image.fleet, scheduler.need_of(loop.plan, tails))[:10])


def _replica(image: Image, workflow: WorkflowImage, loop: LoopRecord, id_: ReplicaId) -> ReplicaFacts:
    standing = image.standing(workflow, loop, id_)
    assignment, seen = workflow.assignments.get(id_), workflow.observed.get(id_)
    agent = assignment.agent if assignment is not None and assignment.held else ""
    report = seen.report if seen is not None else None
    if not isinstance(report, loop_pb2.LoopStatus):
        return ReplicaFacts(id_.replica, standing.state, standing.why, agent=agent)
    told = standing.why is not None and report.reason.code == standing.why.code
    return ReplicaFacts(
        index=id_.replica,
        state=standing.state,
        why=standing.why,
        node=report.reason.node if told else "",
        agent=agent,
        activity=_activity(report.activity) if report.HasField("activity") else None,
        rate=report.iterations_per_second if standing.state is State.RUNNING else 0.0,
        committed=report.committed,
        restarts=report.restarts,
        retry_at=_seconds(report.retry_time) if report.HasField("retry_time") else 0.0,
        last_commit=_seconds(report.last_commit_time) if report.HasField("last_commit_time") else 0.0,
        nodes=tuple(_node(node) for node in report.nodes),
        blocked=tuple((each.queue, each.seconds) for each in report.blocked),
    )


def _activity(doing: loop_pb2.LoopActivity) -> Activity:
    return Activity(
        code=doing.code,
        node=doing.node,
        queue=doing.queue,
        since=_seconds(doing.since_time),
        attempt=doing.attempt,
        again_at=_seconds(doing.next_time) if doing.HasField("next_time") else 0.0,
        message=doing.message,
    )


def _node(node: loop_pb2.NodeStatus) -> NodeFacts:
    return NodeFacts(
        node=node.node,
        executions=node.executions,
        failures=node.failures,
        # The middle of each bucket: entry i counts durations in [2^i, 2^(i+1)) ns.
        seconds=sum(count * 1.5e-9 * 2**power for power, count in enumerate(node.duration_log2_ns)),
        failing=node.health == loop_pb2.NODE_HEALTH_FAILING,
        error=node.last_error.message,
    )


def _away(leader: Leader, queue: str) -> Iterator[tuple[str, float]]:
    """Yield the programs outside that keep a reader slot and have no stream, since when."""
    for record in leader.image.consumers_of(queue):
        if record.seen and not leader.consumers.is_connected(record):
            yield record.name, record.seen


def _queue(
    queue: Queue, records: Sequence[QueueRecord], stats: QueueStats | None, away: Iterable[tuple[str, float]]
) -> QueueFacts:
    return QueueFacts(
        name=queue.name,
        depth=stats.depth if stats is not None else 0,
        size=stats.bytes if stats is not None else 0,
        limit=queue.limits.messages,
        size_limit=queue.limits.bytes,
        blocks=queue.limits.when_full == "block",
        oldest_age_s=stats.oldest_age_s if stats is not None else None,
        dead=stats.dead if stats is not None else 0,
        writers=tuple(f"{record.workflow}/{loop}" for record in records for loop in record.queue.writers),
        readers=tuple(f"{record.workflow}/{loop}" for record in records for loop in record.queue.readers),
        external=queue.external or any(record.queue.external for record in records),
        away=tuple(away),
    )


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
