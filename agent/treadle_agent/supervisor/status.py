"""From a loop's record to the LoopStatus that the controller gets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from treadle.v1 import loop_pb2
from treadle_agent.frames import Address, Doing, Figures, NodeFigures, Why
from treadle_agent.supervisor.past import Past
from treadle_agent.supervisor.reconcile import KEPT_INCIDENTS, state_of
from treadle_agent.supervisor.record import Record, State

RATE_WINDOW_S: Final = 5.0
_NOTHING: Final = Past()
_STATES: Final = {state: loop_pb2.LoopState.Value(f"LOOP_STATE_{state.value}") for state in State}
_HEALTH: Final = {
    "idle": loop_pb2.NODE_HEALTH_IDLE,
    "healthy": loop_pb2.NODE_HEALTH_HEALTHY,
    "failing": loop_pb2.NODE_HEALTH_FAILING,
}


def loop_ref(address: Address) -> loop_pb2.LoopRef:
    key = address.key
    return loop_pb2.LoopRef(namespace=address.namespace, workflow=key.workflow, loop=key.loop, replica=key.replica)


def reason(why: Why | None) -> loop_pb2.Reason | None:
    if why is None:
        return None
    return loop_pb2.Reason(code=why.code, message=why.message, node=why.node, traceback=why.traceback)


def status_of(record: Record, *, hold: Why | None = None, silent_s: float = 0.0) -> loop_pb2.LoopStatus:
    """Return what is to be said of a loop now."""
    state, why = state_of(record, hold=hold, silent_s=silent_s)
    figures = record.figures
    run = record.run
    status = loop_pb2.LoopStatus(
        loop=loop_ref(record.address),
        epoch=run.epoch if run is not None else record.last_epoch,
        incarnation=record.incarnation,
        sequence=record.last_sequence,
        state=_STATES[state],
        reason=reason(why),
        committed=record.committed + record.past.untouched,
        errors=record.past.errors + (figures.errors if figures is not None else 0),
        restarts=record.restarts,
        retries=record.past.retries + (figures.retries if figures is not None else 0),
        dead_letters=record.past.dead_letters + (figures.dead_letters if figures is not None else 0),
        incidents=_incidents(record),
        iterations_per_second=rate(record.marks) if figures is not None else 0.0,
        process_id=record.process_id,
        start_time=None if run is None or run.began is None else _timestamp(run.began),
        last_commit_time=_timestamp(record.moved) if record.moved else None,
        since_time=_timestamp(record.since),
        past=_past(record.past),
        retry_time=_timestamp(record.retry_time) if state is State.BACKOFF and record.waits else None,
    )
    if figures is not None:
        _add_figures(status, figures)
    return status


def _incidents(record: Record) -> list[loop_pb2.LoopIncident]:
    now = record.figures.incidents if record.figures is not None else []
    last = [*record.incidents, *now][-KEPT_INCIDENTS:]
    return [
        loop_pb2.LoopIncident(
            time=_timestamp(each.time), error=reason(each.why), attempt=each.attempt, input=each.input
        )
        for each in last
    ]


def mark(record: Record, now: float, figures: Figures, *, wall: float = 0.0) -> None:
    """Take in new figures, and what the rate is computed from; `wall` is the time since the epoch."""
    record.figures = figures
    if figures.committed != record.committed:
        record.moved = wall
    record.committed = figures.committed
    record.marks = [*(mark for mark in record.marks if now - mark[0] <= RATE_WINDOW_S), (now, figures.committed)]


def rate(marks: Sequence[tuple[float, int]]) -> float:
    """Return iterations per second over the last seconds."""
    if len(marks) < 2:
        return 0.0
    (first, before), (last, after) = marks[0], marks[-1]
    return (after - before) / (last - first) if last > first else 0.0


def _add_figures(status: loop_pb2.LoopStatus, figures: Figures) -> None:
    status.idle_ticks = figures.idle_ticks
    status.in_flight = figures.in_flight
    status.duration_log2_ns.extend(figures.duration_log2_ns)
    status.nodes.extend(_node(node) for node in figures.nodes)
    status.untouched = figures.untouched
    status.blocked_s = sum(figures.blocked.values())
    status.blocked.extend(_blocked(figures.blocked))
    if figures.doing is not None:
        status.activity.CopyFrom(_activity(figures.doing))


def _past(past: Past) -> loop_pb2.LoopPast | None:
    """Return it as it travels; None when there was nothing: nearly always, and this goes with every report."""
    if past == _NOTHING:
        return None
    return loop_pb2.LoopPast(
        idle_ticks=past.idle_ticks,
        untouched=past.untouched,
        duration_log2_ns=past.duration_log2_ns,
        nodes=[
            loop_pb2.NodeStatus(
                node=name, executions=node.executions, failures=node.failures, duration_log2_ns=node.duration_log2_ns
            )
            for name, node in past.nodes.items()
        ],
        blocked=_blocked(past.blocked),
    )


def _blocked(seconds: Mapping[str, float]) -> list[loop_pb2.QueueBlocked]:
    return [loop_pb2.QueueBlocked(queue=queue, seconds=each) for queue, each in seconds.items()]


def _activity(doing: Doing) -> loop_pb2.LoopActivity:
    return loop_pb2.LoopActivity(
        code=doing.code,
        node=doing.node,
        queue=doing.queue,
        since_time=_timestamp(doing.since) if doing.since else None,
        attempt=doing.attempt,
        next_time=None if doing.again_at is None else _timestamp(doing.again_at),
        message=doing.message,
    )


def _node(figures: NodeFigures) -> loop_pb2.NodeStatus:
    return loop_pb2.NodeStatus(
        node=figures.node,
        uses=figures.uses,
        health=_HEALTH[figures.health],
        executions=figures.executions,
        failures=figures.failures,
        duration_log2_ns=figures.duration_log2_ns,
        last_error=reason(figures.last_error),
    )


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
