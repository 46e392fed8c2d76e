"""The leader's picture as messages of the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from google.protobuf import timestamp_pb2

from treadle.queues.stats import QueueStats
from treadle.v1 import agent_pb2, event_pb2, loop_pb2, queue_pb2, workflow_pb2
from treadle.workflow import Change, Finding, Queue
from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import LoopRecord, ReplicaId, State, Why
from treadle_controller.cluster.phase import Standing, worst
from treadle_controller.leader import wire
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.leader.link import QueueLink
from treadle_controller.leader.settle import totals
from treadle_controller.store import codec
from treadle_controller.store.records import AgentRecord, ConsumerRecord, EventRecord, QueueRecord, RevisionRecord

_POOLS: Final = {"thread": loop_pb2.POOL_THREAD, "process": loop_pb2.POOL_PROCESS, "asyncio": loop_pb2.POOL_ASYNCIO}
_SEVERITIES: Final = {
    "error": workflow_pb2.SEVERITY_ERROR,
    "warning": workflow_pb2.SEVERITY_WARNING,
    "info": workflow_pb2.SEVERITY_INFO,
}
_CHANGES: Final = {
    "created": workflow_pb2.CHANGE_KIND_CREATED,
    "changed": workflow_pb2.CHANGE_KIND_CHANGED,
    "unchanged": workflow_pb2.CHANGE_KIND_UNCHANGED,
    "removed": workflow_pb2.CHANGE_KIND_REMOVED,
}
_RUNNING: Final = (State.STARTING, State.RUNNING, State.DRAINING)
_FAILED: Final = (State.BACKOFF, State.ERROR, State.LOST)


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(round(seconds * 1e9))
    return stamp


def etag(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def phase(state: State) -> loop_pb2.LoopPhase.ValueType:
    """Return the specification's three states."""
    if state in _RUNNING:
        return loop_pb2.LOOP_PHASE_RUNNING
    return loop_pb2.LOOP_PHASE_ERROR if state in _FAILED else loop_pb2.LOOP_PHASE_STOPPED


def workflow(
    image: Image, one: WorkflowImage, *, document: bytes = b"", most_loops: int | None = None
) -> workflow_pb2.Workflow:
    """Return a workflow with its loops, without them if there are too many; the document only where it was read."""
    few = most_loops is None or len(one.loops) <= most_loops
    loops = [loop(image, one, record) for record in one.loops.values()] if few else []
    standing = image.workflow_standing(one)
    return workflow_pb2.Workflow(
        namespace=image.namespace,
        name=one.name,
        etag=workflow_etag(one),
        revision=one.record.revision,
        digest=one.record.digest,
        document=document,
        desired_state=int(one.desired),  # type: ignore[arg-type] # the numbers are those of the wire
        state=int(standing.state),  # type: ignore[arg-type]
        reason=wire.reason(standing.why),
        loops=loops,
        create_time=timestamp(one.record.created),
        update_time=timestamp(one.record.updated),
        rollout=rollout(one),
    )


def rollout(one: WorkflowImage, steady: tuple[int, int] | None = None) -> workflow_pb2.Rollout:
    """Return how the newest revision comes along; `steady` counts its loops, and those that are healthy."""
    record = one.record
    loops, healthy_loops = steady or (0, 0)
    return workflow_pb2.Rollout(
        revision=record.revision,
        state=record.state,  # type: ignore[arg-type] # the numbers are those of the wire
        reason=loop_pb2.Reason(code=record.why_code, message=record.why) if record.why_code else None,
        healthy_revision=record.healthy,
        returned_from=record.returned_from,
        loops=loops,
        healthy_loops=healthy_loops,
    )


def workflow_etag(one: WorkflowImage) -> str:
    """Return a tag of what is wanted; what is observed does not change it."""
    wanted = [(loop.plan.loop, loop.desired, loop.restarts, loop.removed, loop.scaled) for loop in one.loops.values()]
    record = one.record
    return etag(record.revision, record.digest, record.updated, record.deleting, codec.encode_text(wanted))


def loop(image: Image, one: WorkflowImage, record: LoopRecord) -> loop_pb2.Loop:
    standings = {id_: image.standing(one, record, id_) for id_ in record.replicas}
    instances = [replica(image, one, id_, standing) for id_, standing in standings.items()]
    standing = worst(standings.values())
    plan = record.plan
    return loop_pb2.Loop(
        namespace=image.namespace,
        workflow=one.name,
        name=record.name,
        etag=etag(record.revision, plan.digest, record.desired, record.restarts, record.removed, record.scaled),
        revision=record.revision,
        digest=plan.digest,
        pool=_POOLS[plan.pool],
        replicas=record.count,
        desired_state=int(record.desired),  # type: ignore[arg-type]
        state=int(standing.state),  # type: ignore[arg-type]
        phase=phase(standing.state),
        reason=wire.reason(standing.why),
        tail_of=plan.tail_of or "",
        instances=instances,
        reads=plan.reads,
        writes=plan.writes,
        committed=sum(instance.status.committed for instance in instances) + record.past_committed,
        errors=sum(instance.status.errors for instance in instances) + record.past_errors,
        iterations_per_second=sum(instance.status.iterations_per_second for instance in instances),
    )


def replica(image: Image, one: WorkflowImage, id_: ReplicaId, standing: Standing) -> loop_pb2.Replica:
    """Return one replica: what its agent said last, under the state that it is in."""
    assignment = one.assignments.get(id_)
    status = loop_pb2.LoopStatus(loop=wire.loop_ref(image.namespace, id_))
    seen = one.observed.get(id_)
    if seen is not None and isinstance(seen.report, loop_pb2.LoopStatus):
        status.CopyFrom(seen.report)
    status.state = int(standing.state)  # type: ignore[assignment]
    if standing.state is not State.RUNNING:
        status.iterations_per_second = 0.0
    if standing.why is None:
        status.ClearField("reason")
    elif status.reason.code != standing.why.code:
        status.reason.CopyFrom(loop_pb2.Reason(code=standing.why.code, message=standing.why.message))
    if assignment is None:
        return loop_pb2.Replica(index=id_.replica, status=status)
    status.committed, status.errors = totals(one, assignment)
    agent = assignment.agent if assignment.held else ""
    return loop_pb2.Replica(index=id_.replica, agent=agent, epoch=assignment.epoch, status=status)


def finding(one: Finding) -> workflow_pb2.Finding:
    return workflow_pb2.Finding(
        code=one.code,
        severity=_SEVERITIES[one.severity],
        pointer=one.pointer,
        element=one.element,
        message=one.message,
        fix=one.fix,
    )


def loop_change(change: Change, agents: Iterable[str] = (), why: Why | None = None) -> workflow_pb2.LoopChange:
    # Field by field: a message made of arguments takes longer, and a document may have thousands of loops.
    made = workflow_pb2.LoopChange()
    made.loop = change.name
    made.kind = _CHANGES[change.status]
    if change.reasons:
        made.differences.extend(change.reasons)
    if agents:
        made.agents.extend(agents)
    if why is not None:
        made.reason.code, made.reason.message = why
    return made


def revision(namespace: str, one: RevisionRecord, *, document: bool) -> workflow_pb2.Revision:
    return workflow_pb2.Revision(
        namespace=namespace,
        workflow=one.workflow,
        number=one.number,
        digest=one.digest,
        document=one.document if document else b"",
        actor=one.actor,
        create_time=timestamp(one.created),
        state=one.state,  # type: ignore[arg-type] # the numbers are those of the wire
        reason=loop_pb2.Reason(code=one.why_code, message=one.why) if one.why_code else None,
    )


def agent(image: Image, record: AgentRecord, seen: Agent, heartbeat: float | None) -> agent_pb2.Agent:
    state = agent_pb2.AGENT_STATE_DRAINING if seen.draining else int(seen.liveness)
    if seen.liveness is Liveness.LOST:
        state = agent_pb2.AGENT_STATE_LOST
    held = [wire.loop_ref(image.namespace, assignment.id) for _, assignment in image.held_by(record.name)]
    return agent_pb2.Agent(
        name=record.name,
        etag=etag(record.version, record.cordoned, record.labels, record.slots),
        version=record.version,
        state=state,  # type: ignore[arg-type]
        cordoned=record.cordoned,
        labels=record.labels,
        slots=agent_pb2.Slots(**record.slots),
        used=agent_pb2.Slots(**seen.used),
        loops=held,
        last_heartbeat_time=timestamp(heartbeat if heartbeat is not None else record.seen),
        reason=None
        if seen.redis_reachable
        else loop_pb2.Reason(code="redis-lost", message="its Redis does not answer"),
    )


def queue(namespace: str, spec: Queue, records: Iterable[QueueRecord], stats: QueueStats | None) -> queue_pb2.Queue:
    """Return a queue as all workflows that name it see it, with its figures if they are known."""
    mentioned = [record for record in records if record.mentioned]
    message = queue_pb2.Queue(
        namespace=namespace,
        name=spec.name,
        writers=[f"{record.workflow}/{name}" for record in mentioned for name in record.queue.writers],
        readers=[f"{record.workflow}/{name}" for record in mentioned for name in record.queue.readers],
        external=any(record.queue.external for record in mentioned),
        hidden=spec.hidden,
        limit_messages=spec.limits.messages,
        limit_bytes=spec.limits.bytes,
        drop_oldest=spec.limits.when_full == "drop-oldest",
    )
    if stats is not None:
        message.depth, message.depth_bytes, message.claimed = stats.depth, stats.bytes, stats.claimed
        message.dead_letters, message.pushed, message.committed = stats.dead, stats.pushed, stats.committed
        message.oldest_age_s = stats.oldest_age_s or 0.0
    return message


def consumer(namespace: str, record: ConsumerRecord, *, connected: bool) -> queue_pb2.Consumer:
    away = record.seen if record.seen and not connected else None
    return queue_pb2.Consumer(
        namespace=namespace,
        queue=record.queue,
        name=record.name,
        connected=connected,
        create_time=timestamp(record.created),
        away_time=timestamp(away) if away is not None else None,
    )


def queue_server(link: QueueLink) -> queue_pb2.QueueServer:
    """Return the server of the queues as it was seen last."""
    server = queue_pb2.QueueServer(reachable=link.up, problem=link.problem, redis_id=link.redis_id)
    if link.report is not None:
        report = link.report
        server.name, server.version, server.persistence = report.name, report.version, report.persistence
        server.fsync, server.eviction_policy = report.fsync, report.policy
        server.used_bytes, server.limit_bytes = report.used_bytes, report.limit_bytes
        server.warnings.extend(report.warnings)
        server.check_time.CopyFrom(timestamp(link.checked))
    return server


def queue_change(change: Change) -> workflow_pb2.QueueChange:
    return workflow_pb2.QueueChange(queue=change.name, kind=_CHANGES[change.status], differences=change.reasons)


def event(one: EventRecord) -> event_pb2.Event:
    return event_pb2.Event(
        sequence=one.sequence,
        time=timestamp(one.time),
        kind=one.kind,
        name=one.name,
        namespace=one.namespace,
        code=one.code,
        message=one.message,
        actor=one.actor,
    )
