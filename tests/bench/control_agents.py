"""Thousands of agents in one process, for the benchmark of the control plane: real streams, loops that only exist.

`python -m tests.bench.control_agents` is told on stdin what to do, one JSON object a line, and answers so on stdout:

    {"do": "connect", "address": ..., "first": 0, "count": 1000, "slots": 100, "telling": true}
                                         -> when all have their full set; `telling`: beats carry statuses
    {"do": "await", "loops": 10000}      -> {"at": ...} when so many loops in all are acknowledged
    {"do": "count"}                      -> {"live": ..., "sessions": ..., "beats": ..., "goodbyes": [...]}

Each agent has a channel of its own, as a real one has. It acknowledges what it is assigned at once, in one report
per message, and beats as it is told to, with a status of each loop that it runs where figures change (`telling`).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import uvloop
from grpc import aio

from treadle.v1 import agent_pb2, dispatcher_service_pb2_grpc, loop_pb2, node_type_pb2
from treadle.v1 import dispatcher_service_pb2 as pb

OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.max_receive_message_length", -1),
)
_AT_ONCE: Final = 50  # that connect at the same time
_STATES: Final = {loop_pb2.DESIRED_STATE_PAUSED: loop_pb2.LOOP_STATE_PAUSED}
NODE_TYPE: Final = node_type_pb2.NodeType(
    uses="bench.source", role=node_type_pb2.NODE_ROLE_PRODUCER, schema_json='{"type": "object"}'
)


class Crowd:
    """All agents of this process, and what they have in common."""

    def __init__(self) -> None:
        self.agents: list[SimulatedAgent] = []
        self.acknowledged: dict[tuple[str, str, int], int] = {}  # replica -> epoch
        self.last_at = 0.0  # wall clock: the newest acknowledgement of a replica that had none
        self.changed = asyncio.Event()

    async def connect(self, address: str, first: int, count: int, slots: int, *, telling: bool) -> None:
        names = [f"agent-{number}" for number in range(first, first + count)]
        new = [SimulatedAgent(self, address, name, slots, telling=telling) for name in names]
        self.agents += new
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(agent.start(gate) for agent in new))

    def acknowledge(self, statuses: list[loop_pb2.LoopStatus]) -> None:
        before = len(self.acknowledged)
        self.acknowledged.update({_key(one): one.epoch for one in statuses})
        if len(self.acknowledged) > before:
            self.last_at = time.time()
            self.changed.set()

    async def reach(self, loops: int) -> float:
        while len(self.acknowledged) < loops:
            self.changed.clear()
            await self.changed.wait()
        return self.last_at

    def count(self) -> dict[str, Any]:
        return {
            "live": sum(agent.live for agent in self.agents),
            "sessions": sum(agent.sessions for agent in self.agents),
            "beats": sum(agent.answered for agent in self.agents),
            "goodbyes": [agent.goodbye for agent in self.agents if agent.goodbye],
        }


class SimulatedAgent:
    """One agent with one session; it never comes back when that ends."""

    def __init__(self, crowd: Crowd, address: str, name: str, slots: int, *, telling: bool) -> None:
        self.live = False
        self.sessions = 0
        self.answered = 0  # heartbeats
        self.goodbye = ""
        self._crowd = crowd
        self._telling = telling
        self._channel = aio.insecure_channel(address, options=OPTIONS)
        self._name = name
        self._slots = agent_pb2.Slots(thread=slots, process=slots, asyncio=slots)
        self._outgoing: asyncio.Queue[pb.SessionRequest] = asyncio.Queue()
        self._session = ""
        self._sequence = 0
        self._reports: dict[int, list[loop_pb2.LoopStatus]] = {}
        self._statuses: dict[tuple[str, str, int], loop_pb2.LoopStatus] = {}
        self._complete = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, gate: asyncio.Semaphore) -> None:
        async with gate:
            hello = pb.Hello(
                agent=self._name, boot_id=self._name, version="bench", slots=self._slots, node_types=[NODE_TYPE]
            )
            self._outgoing.put_nowait(pb.SessionRequest(hello=hello))
            self._tasks.append(asyncio.create_task(self._run(), name=self._name))
            await self._complete.wait()
            if not self.live:
                raise ConnectionError(self.goodbye)

    async def _run(self) -> None:
        call: Any = dispatcher_service_pb2_grpc.DispatcherServiceStub(self._channel).Session(self._requests())
        try:
            async for message in call:
                self._take(message)
        except grpc.RpcError as exc:
            self.goodbye = f"{self._name}: {exc.code()}: {exc.details()}"
        self.live = False
        self._complete.set()

    async def _requests(self) -> AsyncIterator[pb.SessionRequest]:
        while True:
            request = await self._outgoing.get()
            request.session_id = self._session
            yield request

    def _take(self, message: pb.SessionResponse) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self._welcomed(message.welcome)
            case "assignments":
                self._assigned(message.assignments)
            case "report_answer":
                self._crowd.acknowledge(self._reports.pop(message.report_answer.sequence, []))
            case "heartbeat_answer":
                self.answered += 1
            case "goodbye":
                self.goodbye = f"{self._name}: {message.goodbye.reason.code}"

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self._session = welcome.session_id
        self.live = True
        self.sessions += 1
        interval_s = welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._tasks.append(asyncio.create_task(self._beat(interval_s), name=f"{self._name} beat"))

    def _assigned(self, message: pb.Assignments) -> None:
        statuses = [_status(one) for one in message.set]
        self._statuses.update({_key(one): one for one in statuses})
        if statuses:
            self._sequence += 1
            self._reports[self._sequence] = statuses
            report = pb.Report(sequence=self._sequence, statuses=statuses)
            self._outgoing.put_nowait(pb.SessionRequest(report=report))
        if message.kind == pb.ASSIGNMENTS_KIND_COMPLETE:
            self._complete.set()

    async def _beat(self, interval_s: float) -> None:
        sequence = 0
        await asyncio.sleep(interval_s * random.random())  # as agents drift apart
        while self.live:
            sequence += 1
            statuses = self._statuses.values() if self._telling else ()
            beat = pb.Heartbeat(sequence=sequence, statuses=statuses, redis_reachable=True)
            self._outgoing.put_nowait(pb.SessionRequest(heartbeat=beat))
            await asyncio.sleep(interval_s)


def _status(one: pb.Assignment) -> loop_pb2.LoopStatus:
    return loop_pb2.LoopStatus(
        loop=one.loop,
        epoch=one.epoch,
        sequence=one.sequence,
        state=_STATES.get(one.desired_state, loop_pb2.LOOP_STATE_RUNNING),
        committed=1,
        iterations_per_second=1.0,
        duration_log2_ns=[0] * 20,
    )


def _key(status: loop_pb2.LoopStatus) -> tuple[str, str, int]:
    return status.loop.workflow, status.loop.loop, status.loop.replica


async def serve() -> None:
    """Do what stdin says, until it ends."""
    crowd = Crowd()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        answer: dict[str, Any] = {}
        match order.pop("do"):
            case "connect":
                try:
                    await crowd.connect(**order)
                except ConnectionError as exc:
                    answer["error"] = str(exc)
            case "await":
                answer["at"] = await crowd.reach(order["loops"])
                answer |= crowd.count()
            case "count":
                answer = crowd.count()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(serve())
