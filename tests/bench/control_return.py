"""A whole fleet that comes back to a controller that was killed: how long it takes, and what moves (nothing has to).

The controller is the real one, killed with -9 and started again on its port and store; agents are the benchmark's
(control_agents): real streams on channels of their own, which come back after delays as real agents do.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from tests.bench.control_crowd import Agents, agents
from tests.integration.controller.world import ControllerProcess
from tests.servers import redis_server
from treadle.v1 import (
    agent_pb2,
    agent_service_pb2,
    agent_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

AGENTS: Final = 1_000
LOOPS: Final = 2_000  # few enough for the store to keep all events of theirs
_AWAY_S: Final = 8.0  # by then the delays of agents are as long as they get
_BEATS: Final = 12  # a second each: after those the time in which nobody is judged is over


@dataclass(frozen=True, slots=True)
class Returned:
    """What became of a fleet whose controller was killed."""

    seconds: float  # from the moment when the controller served until the last agent had its full set
    ready: int  # agents, after the time in which nobody is judged
    lost: int  # how often an agent was judged lost
    given: int  # assignments that were new to an agent since, or had a new epoch
    taken: int  # those that an agent had to give up


def main() -> float:
    """Return the time; raises when anything was judged lost or has moved."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder, redis_server() as redis:
        controller = ControllerProcess(Path(folder), redis.url)
        controller.start()
        try:
            found = play(controller, away_s=_AWAY_S)
        finally:
            controller.kill()
    if (found.ready, found.lost, found.given, found.taken) != (AGENTS, 0, 0, 0):
        raise AssertionError(f"not all came back as they were: {found}")
    return found.seconds


def play(controller: ControllerProcess, *, away_s: float = 0.0) -> Returned:
    """Connect the fleet to a controller that runs, give it loops, kill and start the controller, and wait."""
    with agents() as fleet:
        fleet.tell(
            do="connect", address=controller.address, first=0, count=AGENTS, slots=LOOPS, telling=False, returning=True
        )
        _apply(controller)
        fleet.tell(do="await", loops=LOOPS)
        before = fleet.tell(do="count")
        controller.kill()
        time.sleep(away_s)
        controller.start()
        served = time.time()
        seconds = fleet.tell(do="await sets", each=2)["at"] - served
        return _look(controller, fleet, before, seconds)


def _apply(controller: ControllerProcess) -> None:
    data = {"uses": "bench.source", "pool": "asyncio"}
    nodes = [
        {"id": f"l{number}", "type": "producer", "position": {"x": 0, "y": 0}, "data": data} for number in range(LOOPS)
    ]
    document = json.dumps({"name": "large", "nodes": nodes, "edges": []})
    with _channel(controller) as channel:
        request = workflow_service_pb2.ApplyWorkflowRequest(document=document.encode())
        workflow_service_pb2_grpc.WorkflowServiceStub(channel).ApplyWorkflow(request)


def _look(controller: ControllerProcess, fleet: Agents, before: dict[str, Any], seconds: float) -> Returned:
    fleet.tell(do="await beats", each=_BEATS)
    after = fleet.tell(do="count")
    with _channel(controller) as channel:
        return Returned(
            seconds, _ready(channel), _lost(channel), after["given"] - before["given"], after["taken"] - before["taken"]
        )


def _ready(channel: grpc.Channel) -> int:
    request = agent_service_pb2.ListAgentsRequest(page_size=AGENTS)
    found = agent_service_pb2_grpc.AgentServiceStub(channel).ListAgents(request).agents
    return sum(1 for agent in found if agent.state == agent_pb2.AGENT_STATE_READY)


def _lost(channel: grpc.Channel) -> int:
    wanted = event_service_pb2.EventFilter(codes=["agent-lost"])
    request = event_service_pb2.ListEventsRequest(filter=wanted, page_size=AGENTS)
    return len(event_service_pb2_grpc.EventServiceStub(channel).ListEvents(request).events)


def _channel(controller: ControllerProcess) -> grpc.Channel:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(controller.address, options=options)
