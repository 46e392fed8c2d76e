"""Thousands of agents in one process, for the benchmark of the control plane: real streams, loops that only exist.

`python -m tests.bench.control_agents` is told on stdin what to do, one JSON object a line, and answers so on stdout:

    {"do": "connect", "address": ..., "first": 0, "count": 1000, "slots": 100, "telling": true, "returning": false}
                                         -> when all have their full set; `telling`: beats carry statuses
    {"do": "await", "loops": 10000}      -> {"at": ...} when so many loops in all are acknowledged
    {"do": "await sets", "each": 2}      -> {"at": ...} when all have got a full set so many times, and are live
    {"do": "await beats", "each": 12}    -> when each has had so many heartbeats answered in its newest session
    {"do": "count"}                      -> {"live": ..., "sessions": ..., "beats": ..., "goodbyes": [...], ...}

What has not come after three minutes never comes: the answer is then {"error": ..., and what "count" says}.

Each agent has a channel of its own, as a real one has. It acknowledges what it is assigned at once, in one report
per message, and beats as it is told to, with a status of each loop that it runs where figures change (`telling`).
When its session ends it comes back as a real one does (`returning`), and says what it runs.

A thousand agents share the machine with the controller that is measured, so that they say what a real agent says
as cheaply as they can: messages are filled in place, and timers are callbacks, where a real agent has tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import grpc
import uvloop
from grpc import aio

from treadle.v1 import agent_pb2, dispatcher_service_pb2_grpc, loop_pb2, node_type_pb2
from treadle.v1 import dispatcher_service_pb2 as pb

OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.max_receive_message_length", -1),
)
_PATIENCE_S: Final = 180.0
_AT_ONCE: Final = 50  # that connect at the same time
_BACKOFF_S: Final = (0.1, 8.0)  # doubled from the first to the second; the delay is anything below
_STATES: Final = {loop_pb2.DESIRED_STATE_PAUSED: loop_pb2.LOOP_STATE_PAUSED}
_GC: Final = (100_000, 50, 1_000)  # the objects of a thousand agents: looking through them is no agent's work
_TOLD: Final = loop_pb2.LoopStatus(committed=1, iterations_per_second=1.0, duration_log2_ns=[0] * 20)
NODE_TYPE: Final = node_type_pb2.NodeType(
    uses="bench.source", role=node_type_pb2.NODE_ROLE_PRODUCER, schema_json='{"type": "object"}'
)


Replica = tuple[str, str, int]


class Crowd:
    """All agents of this process, and what they have in common."""

    def __init__(self) -> None:
        self.agents: list[SimulatedAgent] = []
        self.acknowledged: dict[Replica, int] = {}  # its epoch
        self.last_at = 0.0  # wall clock: the newest acknowledgement of a replica that had none
        self.last_set_at = 0.0  # wall clock: the newest full set
        self.given = self.taken = 0  # assignments that are new to an agent, and that it has to give up
        self.changed = asyncio.Event()
        self.wanted = 0  # acknowledgements that somebody waits for
        self.counts_beats = False  # somebody waits for beats

    async def connect(
        self, address: str, first: int, count: int, slots: int, *, telling: bool, returning: bool = False
    ) -> None:
        names = [f"agent-{number}" for number in range(first, first + count)]
        new = [SimulatedAgent(self, address, name, slots, telling=telling, returning=returning) for name in names]
        self.agents += new
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(agent.start(gate) for agent in new))
        gc.freeze()

    def acknowledge(self, epochs: dict[Replica, int]) -> None:
        before = len(self.acknowledged)
        self.acknowledged.update(epochs)
        if len(self.acknowledged) > before:
            self.last_at = time.time()
            if len(self.acknowledged) >= self.wanted:
                self.changed.set()

    async def reach(self, loops: int) -> float:
        self.wanted = loops
        await self._until(lambda: len(self.acknowledged) >= loops)
        return self.last_at

    async def reach_sets(self, each: int) -> float:
        await self._until(lambda: all(agent.live and agent.sets >= each for agent in self.agents))
        return self.last_set_at

    async def reach_beats(self, each: int) -> None:
        self.counts_beats = True
        await self._until(lambda: all(agent.live and agent.answered_now >= each for agent in self.agents))
        self.counts_beats = False

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def count(self) -> dict[str, Any]:
        return {
            "live": sum(agent.live for agent in self.agents),
            "sessions": sum(agent.sessions for agent in self.agents),
            "beats": sum(agent.answered for agent in self.agents),
            "goodbyes": [agent.goodbye for agent in self.agents if agent.goodbye],
            "given": self.given,
            "taken": self.taken,
        }


class SimulatedAgent:
    """One agent with one session at a time."""

    def __init__(
        self, crowd: Crowd, address: str, name: str, slots: int, *, telling: bool, returning: bool = False
    ) -> None:
        self.live = False
        self.sessions = 0
        self.sets = 0  # full ones
        self.answered = 0  # heartbeats
        self.answered_now = 0  # those of this session
        self.goodbye = ""
        self._crowd = crowd
        self._telling = telling
        self._returning = returning
        self._backoff_s = _BACKOFF_S[0]
        self._interval_s = 0.0
        self._address = address
        self._name = name
        self._slots = agent_pb2.Slots(thread=slots, process=slots, asyncio=slots)
        self._outgoing: deque[pb.SessionRequest] = deque()
        self._writer: asyncio.Future[None] | None = None  # has written all, and waits
        self._session = ""
        self._sequence = 0
        self._beats = 0
        self._reports: dict[int, dict[Replica, int]] = {}
        self._statuses: dict[Replica, loop_pb2.LoopStatus] = {}
        self._epochs: dict[Replica, int] = {}
        self._complete = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._beating: asyncio.TimerHandle | None = None

    async def start(self, gate: asyncio.Semaphore) -> None:
        async with gate:
            self._running = asyncio.create_task(self._run(), name=self._name)
            await self._complete.wait()

    async def _run(self) -> None:
        await self._run_session()
        while self._returning or not self.sessions:
            await asyncio.sleep(self._backoff_s * random.random())
            self._backoff_s = min(2 * self._backoff_s, _BACKOFF_S[1])
            if await self._is_heard():
                await self._run_session()

    async def _is_heard(self) -> bool:
        """Whether anybody listens: a channel that fails takes 10 ms of a process that a thousand agents share."""
        host, _, port = self._address.rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    async def _run_session(self) -> None:
        hello = pb.Hello(
            agent=self._name,
            boot_id=self._name,
            version="bench",
            slots=self._slots,
            node_types=[NODE_TYPE],
            running=self._statuses.values(),
        )
        self._session, self._outgoing = "", deque([pb.SessionRequest(hello=hello)])
        # To close a channel, grpc looks at all tasks of the process, those of a thousand agents: it is dropped instead.
        channel = aio.insecure_channel(self._address, options=OPTIONS)
        call: Any = dispatcher_service_pb2_grpc.DispatcherServiceStub(channel).Session()
        writing = asyncio.create_task(self._write(call), name=f"{self._name} writes")
        try:
            while (message := await call.read()) is not aio.EOF:
                self._take(message)
        except grpc.RpcError as exc:
            self.goodbye = f"{self._name}: {exc.code()}: {exc.details()}"
        self.live = False
        writing.cancel()

    async def _write(self, call: Any) -> None:
        """Send what there is to be sent, one after the other, until the session ends."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):  # whoever reads is told
            while True:
                while self._outgoing:
                    await call.write(self._outgoing.popleft())
                self._writer = asyncio.get_running_loop().create_future()
                await self._writer

    def _send(self, request: pb.SessionRequest) -> None:
        self._outgoing.append(request)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _take(self, message: pb.SessionResponse) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self._welcomed(message.welcome)
            case "assignments":
                self._assigned(message.assignments)
            case "report_answer":
                self._crowd.acknowledge(self._reports.pop(message.report_answer.sequence, {}))
            case "heartbeat_answer":
                self.answered += 1
                self.answered_now += 1
                self._told(message.heartbeat_answer)
                if self._crowd.counts_beats:
                    self._crowd.changed.set()
            case "goodbye":
                self.goodbye = f"{self._name}: {message.goodbye.reason.code}"

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self._session = welcome.session_id
        self.live = True
        self.sessions += 1
        self.answered_now = 0
        self._backoff_s = _BACKOFF_S[0]
        self._interval_s = welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._beats = 0
        if self._beating is not None:
            self._beating.cancel()
        self._beat_after(self._interval_s * random.random())  # as agents drift apart

    def _assigned(self, message: pb.Assignments) -> None:
        self._sequence += 1
        request = pb.SessionRequest(session_id=self._session)
        statuses = request.report.statuses
        epochs: dict[Replica, int] = {}
        for one in message.set:
            ref, status = one.loop, statuses.add()
            _fill(status, one)
            key = ref.workflow, ref.loop, ref.replica
            self._statuses[key] = status
            epochs[key] = status.epoch
        self._compare(message, epochs)
        if epochs:
            request.report.sequence = self._sequence
            self._reports[self._sequence] = epochs
            self._send(request)
        if message.kind == pb.ASSIGNMENTS_KIND_COMPLETE:
            self.sets += 1
            self._crowd.last_set_at = time.time()
            self._crowd.changed.set()
            self._complete.set()

    def _compare(self, message: pb.Assignments, told: dict[Replica, int]) -> None:
        """Count what is new of a message, and what it takes away."""
        had = self._epochs
        self._crowd.given += sum(1 for key, epoch in told.items() if had.get(key) != epoch)
        self._crowd.taken += len(message.releases)
        if message.kind == pb.ASSIGNMENTS_KIND_COMPLETE:
            self._crowd.taken += sum(1 for key in had if key not in told)
        had.update(told)

    def _told(self, answer: pb.HeartbeatAnswer) -> None:
        """Take over how often to beat from now on: the fleet has grown since the session began."""
        if answer.HasField("heartbeat_interval"):
            self._interval_s = answer.heartbeat_interval.ToTimedelta().total_seconds()

    def _beat_after(self, delay_s: float) -> None:
        self._beating = asyncio.get_running_loop().call_later(delay_s, self._beat)

    def _beat(self) -> None:
        if not self.live:
            return
        self._beats += 1
        request = pb.SessionRequest(session_id=self._session)
        beat = request.heartbeat
        beat.sequence, beat.redis_reachable = self._beats, True
        if self._telling:
            beat.statuses.extend(self._statuses.values())
        self._send(request)
        self._beat_after(self._interval_s)


def _fill(status: loop_pb2.LoopStatus, one: pb.Assignment) -> None:
    """Say of an assignment that it is as it should be."""
    status.CopyFrom(_TOLD)
    status.loop.CopyFrom(one.loop)
    status.epoch, status.sequence = one.epoch, one.sequence
    status.state = _STATES.get(one.desired_state, loop_pb2.LOOP_STATE_RUNNING)


async def serve() -> None:
    """Do what stdin says, until it ends."""
    gc.set_threshold(*_GC)
    crowd = Crowd()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            answer = await obey(crowd, json.loads(line))
        except TimeoutError:
            answer = {"error": f"not reached in {_PATIENCE_S:g} s: {line.decode().strip()}", **crowd.count()}
        print(json.dumps(answer), flush=True)


async def obey(crowd: Crowd, order: dict[str, Any]) -> dict[str, Any]:
    """Do one thing, and return the answer."""
    match order.pop("do"):
        case "connect":
            await crowd.connect(**order)
        case "await":
            return {"at": await crowd.reach(order["loops"]), **crowd.count()}
        case "await sets":
            return {"at": await crowd.reach_sets(order["each"])}
        case "await beats":
            await crowd.reach_beats(order["each"])
        case "count":
            return crowd.count()
    return {}


if __name__ == "__main__":
    uvloop.run(serve())
