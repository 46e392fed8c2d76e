"""What each kind of thing looks like as a table: API messages in, rows out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from treadle.v1 import agent_pb2, event_pb2, loop_pb2, node_type_pb2, queue_pb2, workflow_pb2
from wfctl.tables import Table
from wfctl.text import duration, rate, size

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from treadle.v1 import workflow_service_pb2


def loop_state(value: loop_pb2.LoopState.ValueType) -> str:
    """Return the word for a loop state."""
    return loop_pb2.LoopState.Name(value).removeprefix("LOOP_STATE_")


def pool(value: loop_pb2.Pool.ValueType) -> str:
    """Return the word for a pool, as documents write it."""
    return loop_pb2.Pool.Name(value).removeprefix("POOL_").lower()


def reason(value: loop_pb2.Reason) -> str:
    """Return a reason in one line: its node, code and sentence."""
    where = f"{value.node}: " if value.node else ""
    return f"{where}{value.code}: {value.message}" if value.code else f"{where}{value.message}"


def age(since: Timestamp, now: float | None = None) -> str:
    """Return how long ago something was, "" when it never was."""
    if not since.seconds:
        return ""
    return duration(max(0.0, (time.time() if now is None else now) - since.seconds - since.nanos / 1e9))


def clock(when: Timestamp) -> str:
    """Return a local time of day, with the date when it is not today's."""
    if not when.seconds:
        return ""
    local = time.localtime(when.seconds)
    form = "%H:%M:%S" if local[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M:%S"
    return f"{time.strftime(form, local)}.{when.nanos // 1_000_000:03d}"


def workflows(items: Iterable[workflow_pb2.Workflow]) -> Table:
    table = Table(("WORKFLOW", "STATE", "REVISION", "LOOPS", "COMMITTED", "ERRORS", "AGE", "DIGEST", "REASON"), wide=7)
    for item in items:
        committed, errors = sum(loop.committed for loop in item.loops), sum(loop.errors for loop in item.loops)
        cells = (item.name, loop_state(item.state), item.revision, len(item.loops), committed, errors)
        table.add(f"workflow/{item.name}", *cells, age(item.create_time), item.digest[:19], reason(item.reason))
    return table


def loops(items: Iterable[loop_pb2.Loop]) -> Table:
    columns = "WORKFLOW LOOP POOL STATE AGENT RATE/S COMMITTED IN-FLIGHT ERRORS REASON"
    wide = "REPLICAS REVISION EPOCH INCARNATION RESTARTS PID READS WRITES"
    table = Table(tuple(f"{columns} {wide}".split()), wide=10)
    for item in items:
        first = item.instances[0].status if item.instances else loop_pb2.LoopStatus()
        agents = ",".join(dict.fromkeys(i.agent for i in item.instances if i.agent))
        in_flight = sum(i.status.in_flight for i in item.instances)
        cells = (item.workflow, item.name, pool(item.pool), loop_state(item.state), agents)
        figures = (rate(item.iterations_per_second), item.committed, in_flight, item.errors, reason(item.reason))
        epoch = item.instances[0].epoch if item.instances else 0
        restarts = sum(i.status.restarts for i in item.instances)
        more = (item.replicas, item.revision, epoch, first.incarnation, restarts, first.process_id)
        name = f"loop/{item.workflow}/{item.name}"
        table.add(name, *cells, *figures, *more, ",".join(item.reads), ",".join(item.writes))
    return table


def agents(items: Iterable[agent_pb2.Agent]) -> Table:
    table = Table(("AGENT", "STATE", "CORDONED", "LOOPS", "SLOTS", "HEARTBEAT", "VERSION", "LABELS", "REASON"), wide=7)
    for item in items:
        state = agent_pb2.AgentState.Name(item.state).removeprefix("AGENT_STATE_")
        slots = " ".join(
            f"{pool_name}={getattr(item.used, pool_name)}/{getattr(item.slots, pool_name)}"
            for pool_name in ("thread", "process", "asyncio")
        )
        labels = ",".join(f"{key}={value}" for key, value in sorted(item.labels.items()))
        cells = (item.name, state, "yes" if item.cordoned else "no", len(item.loops), slots)
        beat = age(item.last_heartbeat_time)
        table.add(f"agent/{item.name}", *cells, beat, item.version, labels, reason(item.reason))
    return table


def queues(items: Iterable[queue_pb2.Queue]) -> Table:
    columns = "QUEUE DEPTH BYTES CLAIMED DEAD PUSHED COMMITTED AGE LIMIT WRITERS READERS"
    table = Table(tuple(columns.split()), wide=8)
    for item in items:
        figures = (item.depth, size(item.depth_bytes), item.claimed, item.dead_letters, item.pushed, item.committed)
        oldest = duration(item.oldest_age_s) if item.oldest_age_s else ""
        ends = (",".join(item.writers), ",".join(item.readers))
        table.add(f"queue/{item.name}", item.name, *figures, oldest, limit(item), *ends)
    return table


def dead_letters(items: Iterable[queue_pb2.DeadLetter]) -> Table:
    """Return dead letters; the iteration is what goes back together."""
    table = Table(("ID", "NUMBER", "SINCE", "NODE", "ERROR", "ATTEMPTS", "ITERATION", "REVISION"), wide=7)
    for item in items:
        since = age(item.dead_time)
        error = f"{item.error}: {item.reason.message}" if item.reason.message else item.error
        cells = (item.id, item.number or "", since, item.reason.node, error.split("\n", 1)[0], item.attempts or "")
        table.add(f"dead-letter/{item.queue}/{item.id}", *cells, item.iteration, item.revision or "")
    return table


def server(item: queue_pb2.QueueServer) -> str:
    """Return what holds the queues, in a line."""
    if not item.name:
        return item.problem
    kept = {"aof": "append-only file", "rdb": "snapshots only", "off": "OFF"}.get(item.persistence, item.persistence)
    synced = f", fsync {item.fsync}" if item.fsync else ""
    room = f" of {size(item.limit_bytes)}" if item.limit_bytes else ""
    state = "" if item.reachable else f"; can't be used now: {item.problem}"
    used = f"{size(item.used_bytes)}{room} used, {item.eviction_policy}"
    return f"{item.name} {item.version}, persistence: {kept}{synced}, {used}{state}"


def limit(item: queue_pb2.Queue) -> str:
    """Return what a queue holds at most, in words."""
    messages = str(item.limit_messages) if item.HasField("limit_messages") else "unbounded"
    held = size(item.limit_bytes) if item.HasField("limit_bytes") else "unbounded"
    return f"{messages}, {held}, {'drop-oldest' if item.drop_oldest else 'block'}"


def nodes(items: Iterable[loop_pb2.Loop]) -> Table:
    """Return the nodes of loops, a row for each and each replica."""
    columns = "WORKFLOW LOOP REPLICA NODE USES HEALTH EXECUTIONS FAILURES P50 P99 ERROR"
    table = Table(tuple(columns.split()))
    for loop in items:
        for instance in loop.instances:
            for node in instance.status.nodes:
                health = loop_pb2.NodeHealth.Name(node.health).removeprefix("NODE_HEALTH_")
                times = (quantile(node.duration_log2_ns, 0.5), quantile(node.duration_log2_ns, 0.99))
                cells = (loop.workflow, loop.name, instance.index, node.node, node.uses, health)
                figures = (node.executions, node.failures, *times, reason(node.last_error))
                table.add(f"node/{loop.workflow}/{loop.name}/{node.node}", *cells, *figures)
    return table


def quantile(log2_ns: Iterable[int], q: float) -> str:
    """Return a quantile of a histogram whose entry i counts [2^i, 2^(i+1)) ns: the upper end of its bucket."""
    counts = list(log2_ns)
    rank, seen = q * sum(counts), 0
    if not rank:
        return ""
    for power, count in enumerate(counts):
        seen += count
        if seen >= rank:
            ns = 2 ** (power + 1)
            return f"<{ns}ns" if ns < 10_000 else f"<{ns / 1e3:.0f}us" if ns < 10_000_000 else f"<{ns / 1e6:.0f}ms"
    raise AssertionError(q)


def revisions(items: Iterable[workflow_pb2.Revision]) -> Table:
    table = Table(("WORKFLOW", "REVISION", "STATE", "DIGEST", "ACTOR", "AGE", "REASON"))
    for item in items:
        name = f"revision/{item.workflow}/{item.number}"
        cells = (item.workflow, item.number, rollout_state(item.state), item.digest[:19], item.actor)
        table.add(name, *cells, age(item.create_time), reason(item.reason))
    return table


def rollout_state(value: workflow_pb2.RolloutState.ValueType) -> str:
    """Return the word for what became of a revision."""
    return workflow_pb2.RolloutState.Name(value).removeprefix("ROLLOUT_STATE_")


def rollout(item: workflow_pb2.Rollout) -> str:
    """Return in one line how a rollout comes along."""
    said = f"revision {item.revision} is {rollout_state(item.state)}"
    if item.returned_from:
        said += f"; revision {item.returned_from} went back to it"
    return f"{said}: {reason(item.reason)}" if item.reason.code else said


def node_types(items: Iterable[node_type_pb2.NodeType]) -> Table:
    table = Table(("USES", "ROLE", "STATEFUL", "AGENTS", "WHAT", "MODULE", "DIGEST"), wide=5)
    for item in items:
        role = node_type_pb2.NodeRole.Name(item.role).removeprefix("NODE_ROLE_").lower()
        what = item.doc.split("\n", 1)[0]
        cells = (item.uses, role, "yes" if item.stateful else "no", ",".join(item.agents), what)
        table.add(f"node-type/{item.uses}", *cells, item.module, item.digest[:12])
    return table


def events(items: Iterable[event_pb2.Event]) -> Table:
    table = Table(("TIME", "KIND", "NAME", "CODE", "MESSAGE", "ACTOR", "SEQUENCE"), wide=6)
    for item in items:
        cells = (clock(item.time), item.kind, item.name, item.code, item.message, item.actor, item.sequence)
        table.add(f"event/{item.sequence}", *cells)
    return table


def changes(items: Iterable[workflow_pb2.LoopChange], workflow: str, *, placement: bool) -> Table:
    """Return what an apply did, or would do, to each loop."""
    table = Table(("WORKFLOW", "LOOP", "CHANGE", "RESTARTS", "AGENTS", "DIFFERENCES"))
    for item in items:
        kind = change(item)
        where = reason(item.reason) if item.reason.code or item.reason.message else ",".join(item.agents)
        restarts = "yes" if kind == "changed" else "no"
        cells = (workflow, item.loop, kind, restarts, where if placement else "", "; ".join(item.differences))
        table.add(f"loop/{workflow}/{item.loop}", *cells)
    return table


def changed_queues(answer: workflow_service_pb2.ApplyWorkflowResponse) -> list[workflow_pb2.QueueChange]:
    """Return the queues that stay and are not as they were: their limits, or who is at their ends."""
    return [item for item in answer.queue_changes if item.kind == workflow_pb2.CHANGE_KIND_CHANGED]


def change(item: workflow_pb2.LoopChange | workflow_pb2.QueueChange) -> str:
    """Return the word for what happens to a loop or queue: created, changed, unchanged, removed."""
    return workflow_pb2.ChangeKind.Name(item.kind).removeprefix("CHANGE_KIND_").lower()
