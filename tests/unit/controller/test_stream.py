"""What is sent to one agent, and in how many messages."""

from __future__ import annotations

import asyncio
import time

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_controller.cluster.model import Assignment, ReplicaId, Why
from treadle_controller.leader import wire
from treadle_controller.leader.stream import AgentStream


def order(number: int) -> wire.Order:
    return wire.Order("default", Assignment(ReplicaId("w", "a", number), epoch=number), b"{}")


async def read_all(stream: AgentStream) -> list[pb.SessionResponse]:
    found = []
    while (message := await stream.next_message()) is not None:
        found.append(message)
    return found


def test_the_changes_of_one_round_go_together_and_at_once() -> None:
    async def play() -> list[pb.SessionResponse]:
        stream = AgentStream("one", "s1", time.monotonic)
        for number in range(3):
            stream.offer(ReplicaId("w", "a", number), order(number))
        stream.offer(ReplicaId("w", "b", 0), pb.Release(epoch=9))
        await asyncio.sleep(0)
        stream.end()
        return await read_all(stream)

    (message,) = asyncio.run(play())

    assert message.assignments.kind == pb.ASSIGNMENTS_KIND_INCREMENTAL
    assert [one.epoch for one in message.assignments.set] == [0, 1, 2]
    assert [one.epoch for one in message.assignments.releases] == [9]


def test_nothing_follows_a_goodbye() -> None:
    async def play() -> list[pb.SessionResponse]:
        stream = AgentStream("one", "s1", time.monotonic)
        stream.end(Why("session-replaced", "a newer one exists"))
        stream.send(pb.SessionResponse(heartbeat_answer=pb.HeartbeatAnswer(sequence=1)))
        stream.offer(ReplicaId("w", "a", 0), order(0))
        await asyncio.sleep(0)
        return await read_all(stream)

    (message,) = asyncio.run(play())

    assert message.goodbye.reason.code == "session-replaced"


def test_an_agent_that_reads_nothing_is_cut_off() -> None:
    async def play() -> Why | None:
        stream = AgentStream("one", "s1", time.monotonic)
        for number in range(2_000):
            stream.send(pb.SessionResponse(heartbeat_answer=pb.HeartbeatAnswer(sequence=number)))
        return stream.why

    why = asyncio.run(play())

    assert why is not None
    assert why.code == "agent-does-not-read"
