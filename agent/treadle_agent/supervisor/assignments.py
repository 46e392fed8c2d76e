"""From the controller's Assignment to what the supervisor wants. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from treadle.errors import ConfigError
from treadle.queues.tenure import LoopKey
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import loop_pb2
from treadle.workflow.plan import Plan
from treadle_agent.frames import Address, QueueUse
from treadle_agent.supervisor.record import Desired, Wanted

_DESIRED: Final = {
    loop_pb2.DESIRED_STATE_RUNNING: Desired.RUNNING,
    loop_pb2.DESIRED_STATE_PAUSED: Desired.PAUSED,
    loop_pb2.DESIRED_STATE_STOPPED: Desired.STOPPED,
}
_plan = msgspec.json.Decoder(Plan).decode


def address_of(ref: loop_pb2.LoopRef) -> Address:
    return Address(ref.namespace, LoopKey(ref.workflow, ref.loop, ref.replica))


def read_assignment(message: wire.Assignment) -> Wanted:
    """Return what an assignment asks for. Raises ConfigError when its plan can't be read."""
    try:
        plan = _plan(message.plan_json)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the plan of {address_of(message.loop)} can't be read: {exc}") from exc
    return Wanted(
        address=address_of(message.loop),
        epoch=message.epoch,
        sequence=message.sequence,
        revision=message.revision,
        desired=_DESIRED.get(message.desired_state, Desired.RUNNING),
        generation=message.restart_generation,
        plan=plan,
        plan_json=message.plan_json,
        queues=tuple(_queue(queue) for queue in message.queues),
        traceparent=message.traceparent,
    )


def _queue(queue: wire.AssignedQueue) -> QueueUse:
    return QueueUse(
        name=queue.name,
        limit_messages=queue.limit_messages if queue.HasField("limit_messages") else None,
        limit_bytes=queue.limit_bytes if queue.HasField("limit_bytes") else None,
        drop_oldest=queue.drop_oldest,
        never_ends=queue.never_ends,
    )
