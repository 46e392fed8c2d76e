"""What an agent may say: it speaks for itself, and of what is assigned to it. Every object of a batch is looked at.

What is only late is no lie: a status of an assignment that went to somebody else since then carries an older epoch,
and is ignored as ever. A word for another agent's assignment at that one's own epoch can only be made up, and so can
an event of a loop that nobody gave to this agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import loop_pb2
from treadle.v1.event_pb2 import Event, LogLine
from treadle_controller.cluster.model import Assignment, ReplicaId
from treadle_controller.leader import wire
from treadle_controller.leader.image import Image

LIE: Final = "speaks-for-another"


class Said(NamedTuple):
    """What a message has in it that names loops or agents."""

    statuses: Iterable[loop_pb2.LoopStatus] = ()
    events: Iterable[Event] = ()
    lines: Iterable[LogLine] = ()


def said_in_hello(hello: pb.Hello) -> Said:
    return Said(statuses=hello.running)


def said(request: pb.SessionRequest) -> Said:
    match request.WhichOneof("message"):
        case "heartbeat":
            return Said(statuses=request.heartbeat.statuses)
        case "report":
            return Said(statuses=request.report.statuses, events=request.report.events)
        case "logs":
            return Said(lines=request.logs.lines)
        case _:
            return Said()


def lie(image: Image, agent: str, said: Said) -> str:
    """Return what an agent says for another, as a sentence; empty when it speaks for itself."""
    for status in said.statuses:
        if _of_another(image, agent, status):
            return f"agent {agent} reports {wire.replica_id(status.loop)}, which is not assigned to it"
    for event in said.events:
        if event.kind != "loop" or event.actor not in ("", f"agent {agent}"):
            return f"agent {agent} sends an event of {event.kind} {event.name!r} by {event.actor!r}"
        if event.namespace not in ("", image.namespace):
            return f"agent {agent} sends an event of another namespace"
    for line in said.lines:
        if line.agent not in ("", agent):
            return f"agent {agent} sends log lines of agent {line.agent!r}"
    return ""


def own_events(image: Image, agent: str, events: Iterable[Event]) -> list[Event]:
    """Return the events of loops that the agent holds or held last."""
    return [one for one in events if _holds(image, agent, _replica(one.name))]


def own_lines(image: Image, agent: str, lines: Iterable[LogLine]) -> list[LogLine]:
    """Return the lines of loops that the agent holds or held last."""
    return [one for one in lines if _holds(image, agent, ReplicaId(one.workflow, one.loop, one.replica))]


def _of_another(image: Image, agent: str, status: loop_pb2.LoopStatus) -> bool:
    ref = status.loop
    if ref.namespace not in ("", image.namespace):
        return True
    found = _assignment(image, wire.replica_id(ref))
    return found is not None and found.agent != agent and found.held and status.epoch >= found.epoch


def _holds(image: Image, agent: str, id_: ReplicaId | None) -> bool:
    found = None if id_ is None else _assignment(image, id_)
    return found is not None and found.agent == agent


def _assignment(image: Image, id_: ReplicaId) -> Assignment | None:
    workflow = image.workflows.get(id_.workflow)
    return None if workflow is None else workflow.assignments.get(id_)


def _replica(name: str) -> ReplicaId | None:
    workflow, _, rest = name.partition("/")
    loop, _, number = rest.rpartition("/")
    return ReplicaId(workflow, loop, int(number)) if loop and number.isdigit() else None
