"""What the leader sends to agents, made from its records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from google.protobuf import duration_pb2

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import loop_pb2
from treadle.workflow.plan import Plan, Queue
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
    return Observed(
        status.epoch,
        status.sequence,
        state,
        why,
        status,
        incarnation=status.incarnation,
        committed=status.committed,
        measured=bool(status.nodes),
        failing=_failing(status),
    )


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


class Order(NamedTuple):
    """An assignment as it is sent: with the plan that it was made with, and its queues.

    It is filled into the message that takes it along: a protobuf message that is put into another one is written and
    read again for that, with its whole plan.
    """

    namespace: str
    assignment: Assignment
    plan_json: bytes
    queues: Sequence[Queue] = ()
    traceparent: str = ""

    def fill(self, message: pb.Assignment) -> None:
        one, ref = self.assignment, message.loop
        ref.namespace = self.namespace
        ref.workflow, ref.loop, ref.replica = one.id
        message.epoch, message.sequence, message.revision = one.epoch, one.sequence, one.revision
        message.desired_state = int(one.desired)  # type: ignore[assignment] # the numbers are those of the wire
        message.plan_json = self.plan_json
        message.restart_generation = one.restarts
        for queue in self.queues:
            _fill_queue(message.queues.add(), queue)
        if self.traceparent:
            message.traceparent = self.traceparent


def order(image: Image, workflow: WorkflowImage, one: Assignment, plans: Plans, traceparent: str = "") -> Order:
    """Return an assignment as its agent is to be told."""
    plan_json, names = plans.encoded(workflow.plans[one.id])
    queues = [image.queue_of(workflow, name) for name in names]
    return Order(image.namespace, one, plan_json, queues, traceparent)


def _fill_queue(message: pb.AssignedQueue, queue: Queue) -> None:
    message.name = queue.name
    if queue.limits.messages is not None:
        message.limit_messages = queue.limits.messages
    if queue.limits.bytes is not None:
        message.limit_bytes = queue.limits.bytes
    message.drop_oldest = queue.limits.when_full == "drop-oldest"
    message.never_ends = queue.external or queue.on_cycle


def releases(namespace: str, let_go: Iterable[Assignment]) -> list[pb.Release]:
    return [pb.Release(loop=loop_ref(namespace, one.id), epoch=one.epoch) for one in let_go]
