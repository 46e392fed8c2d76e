"""What the leader sends to agents, made from its records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf import duration_pb2

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import loop_pb2
from treadle.workflow.plan import Plan
from treadle_controller.cluster.model import Assignment, Observed, ReplicaId, State, Why
from treadle_controller.leader.image import Image, WorkflowImage
from treadle_controller.store import codec

_STATES: Final = {int(state): state for state in State}


def loop_ref(namespace: str, id_: ReplicaId) -> loop_pb2.LoopRef:
    return loop_pb2.LoopRef(namespace=namespace, workflow=id_.workflow, loop=id_.loop, replica=id_.replica)


def seconds(length: duration_pb2.Duration) -> float:
    """Return a length of time, however long: that of a request need not fit into a timedelta."""
    return float(length.seconds) + length.nanos / 1e9


def replica_id(ref: loop_pb2.LoopRef) -> ReplicaId:
    return ReplicaId(ref.workflow, ref.loop, ref.replica)


def reason(why: Why | None) -> loop_pb2.Reason | None:
    return None if why is None else loop_pb2.Reason(code=why.code, message=why.message)


def observed(status: loop_pb2.LoopStatus) -> Observed | None:
    """Return what a status says; None when its state is none that this controller knows."""
    state = _STATES.get(status.state)
    if state is None:
        return None
    why = Why(status.reason.code, status.reason.message) if status.HasField("reason") else None
    measured = bool(status.nodes)
    failing = _failing(status) if measured else ""
    seen = (status.epoch, status.sequence, state, why, status, status.incarnation, status.committed)
    return Observed(*seen, measured=measured, failing=failing)


def _failing(status: loop_pb2.LoopStatus) -> str:
    """Return the sentence of the first node that does not work: it fails now, or never did anything else."""
    for node in status.nodes:
        never = node.failures > 0 and node.failures == node.executions
        if node.health == loop_pb2.NODE_HEALTH_FAILING or never:
            return f"node '{node.node}' fails: {node.last_error.message or 'no execution succeeded'}"
    return ""


class Plans:
    """Encoded plans with the queues that they name, each made once."""

    def __init__(self) -> None:
        self._encoded: dict[tuple[str, str], tuple[Plan, bytes, tuple[str, ...]]] = {}

    def put(self, plan: Plan, encoded: bytes) -> None:
        """Take over a plan that is encoded already."""
        names = tuple(dict.fromkeys((*plan.reads, *plan.writes)))
        self._encoded[plan.workflow, plan.loop] = (plan, encoded, names)

    def encoded(self, plan: Plan) -> tuple[bytes, tuple[str, ...]]:
        known = self._encoded.get((plan.workflow, plan.loop))
        if known is None or known[0] is not plan:
            self.put(plan, codec.encode(plan))
            known = self._encoded[plan.workflow, plan.loop]
        return known[1], known[2]

    def forget(self, plan: Plan) -> None:
        self._encoded.pop((plan.workflow, plan.loop), None)


def assignment(image: Image, workflow: WorkflowImage, one: Assignment, plans: Plans) -> pb.Assignment:
    """Return an assignment with the plan that it was made with, and its queues."""
    plan_json, names = plans.encoded(workflow.plans[one.id])
    # Field by field: that takes a third of the time of a message made of arguments, and thousands are made at once.
    made = pb.Assignment()
    ref = made.loop
    ref.namespace = image.namespace
    ref.workflow, ref.loop, ref.replica = one.id
    made.epoch, made.sequence, made.revision = one.epoch, one.sequence, one.revision
    made.desired_state = int(one.desired)  # type: ignore[assignment] # the numbers are those of the wire
    made.plan_json = plan_json
    made.restart_generation = one.restarts
    if names:
        made.queues.extend([assigned_queue(image, workflow, name) for name in names])
    return made


def assigned_queue(image: Image, workflow: WorkflowImage, name: str) -> pb.AssignedQueue:
    queue = image.queue_of(workflow, name)
    return pb.AssignedQueue(
        name=name,
        limit_messages=queue.limits.messages,
        limit_bytes=queue.limits.bytes,
        drop_oldest=queue.limits.when_full == "drop-oldest",
        never_ends=queue.external or queue.on_cycle,
    )


def releases(namespace: str, let_go: Iterable[Assignment]) -> list[pb.Release]:
    return [pb.Release(loop=loop_ref(namespace, one.id), epoch=one.epoch) for one in let_go]
