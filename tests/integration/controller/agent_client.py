"""An agent as a controller sees it: the real protocol over a real channel; its loops are a table."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self

import grpc
from grpc import aio

from treadle.v1 import agent_pb2, dispatcher_service_pb2_grpc, loop_pb2, node_type_pb2
from treadle.v1 import dispatcher_service_pb2 as pb

Key = tuple[str, str, int]

NODE_TYPES = (
    node_type_pb2.NodeType(uses="test.source", role=node_type_pb2.NODE_ROLE_PRODUCER, schema_json='{"type": "object"}'),
    node_type_pb2.NodeType(uses="test.work", role=node_type_pb2.NODE_ROLE_NODE, schema_json='{"type": "object"}'),
)


class ScriptedAgent:
    """Acknowledges what it is sent at once, unless told otherwise; `events` are all messages it got."""

    def __init__(self, address: str, name: str, *, slots: int = 100, labels: dict[str, str] | None = None) -> None:
        self.address = address
        self.name = name
        self.slots = slots
        self.labels = labels or {}
        self.boot_id = uuid.uuid4().hex
        self.node_types: Iterable[node_type_pb2.NodeType] = NODE_TYPES
        self.running: dict[Key, loop_pb2.LoopStatus] = {}
        self.ended: dict[Key, loop_pb2.LoopStatus] = {}  # reported in each session until it is released
        self.assigned: dict[Key, pb.Assignment] = {}
        self.received: list[pb.SessionResponse] = []
        self.started: list[tuple[Key, int]] = []  # every start of a loop, with its epoch
        self.welcome: pb.Welcome | None = None
        self.version = 0
        self.acknowledges = True
        self.releases = True
        self.bad: set[tuple[int, str]] = set()  # revisions and loops that fail for good
        self.redis_silence_s: float | None = None  # its Redis has not answered for so long
        self.goodbye: loop_pb2.Reason | None = None
        self.changed = asyncio.Condition()
        self._channel: aio.Channel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._outgoing: asyncio.Queue[pb.SessionRequest | None] = asyncio.Queue()
        self._beats = 0

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Open a session; returns once the full set is here. What spoke in an older one falls silent."""
        await self.disconnect()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._channel = aio.insecure_channel(self.address, options=options)
        self._outgoing = asyncio.Queue()
        self.welcome, self.version, self.goodbye = None, 0, None
        stub = dispatcher_service_pb2_grpc.DispatcherServiceStub(self._channel)
        slots = agent_pb2.Slots(thread=self.slots, process=self.slots, asyncio=self.slots)
        hello = pb.Hello(
            agent=self.name,
            boot_id=self.boot_id,
            version="test",
            labels=self.labels,
            slots=slots,
            node_types=self.node_types,
            running=[*self.running.values(), *self.ended.values()],
        )
        self._outgoing.put_nowait(pb.SessionRequest(hello=hello))
        call: Any = stub.Session(self._requests())
        self._tasks = [asyncio.create_task(self._read(call)), asyncio.create_task(self._beat())]
        await self.until(lambda: self.version > 0 or self.goodbye is not None)

    async def disconnect(self) -> None:
        """Drop the connection, as a killed process does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def restart(self) -> None:
        """Come back as a new process that runs nothing."""
        await self.disconnect()
        self.boot_id = uuid.uuid4().hex
        self.running.clear()
        self.ended.clear()
        self.assigned.clear()
        await self.connect()

    def stop_heartbeats(self) -> None:
        """Fall silent with the connection open, as a frozen process does."""
        self._tasks[1].cancel()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until a condition holds; looked at after every message."""
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(condition)

    def epoch(self, key: Key) -> int:
        return self.assigned[key].epoch if key in self.assigned else 0

    def say(self, message: pb.SessionRequest) -> None:
        message.session_id = self.welcome.session_id if self.welcome is not None else ""
        self._outgoing.put_nowait(message)

    def report(self, key: Key, state: loop_pb2.LoopState.ValueType, **fields: Any) -> None:
        """Report a state of a loop that is assigned."""
        assignment = self.assigned[key]
        status = loop_pb2.LoopStatus(
            loop=assignment.loop, epoch=assignment.epoch, sequence=assignment.sequence, state=state, **fields
        )
        if state in (loop_pb2.LOOP_STATE_STOPPED, loop_pb2.LOOP_STATE_COMPLETED):
            self.running.pop(key, None)
            self.ended[key] = status
        else:
            self.running[key] = status
        self._beats += 1
        self.say(pb.SessionRequest(report=pb.Report(sequence=self._beats, statuses=[status])))

    async def _requests(self) -> AsyncIterator[pb.SessionRequest]:
        while (message := await self._outgoing.get()) is not None:
            yield message

    async def _read(self, call: Any) -> None:
        with contextlib.suppress(grpc.RpcError, asyncio.CancelledError):
            async for message in call:
                self.received.append(message)
                self._take(message)
                async with self.changed:
                    self.changed.notify_all()

    def _take(self, message: pb.SessionResponse) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self.welcome = message.welcome
            case "assignments":
                self._assign(message.assignments)
            case "goodbye":
                self.goodbye = message.goodbye.reason

    def _assign(self, assignments: pb.Assignments) -> None:
        if assignments.kind == pb.ASSIGNMENTS_KIND_COMPLETE:
            wanted = {_key(one.loop) for one in assignments.set} | {_key(one.loop) for one in assignments.releases}
            for key in [key for key in self.running if key not in wanted]:
                del self.running[key]
            self.assigned = {}
            self.ended = {key: status for key, status in self.ended.items() if key in wanted}
        else:
            assert assignments.applies_to == self.version, "a gap in the chain of assignments"
        self.version = assignments.results_in
        for one in assignments.set:
            self._set(one)
        for release in assignments.releases:
            self._release(release)

    def _set(self, one: pb.Assignment) -> None:
        key = _key(one.loop)
        if key in self.ended and self.ended[key].epoch == one.epoch:
            if self.ended[key].sequence == one.sequence:
                return
            del self.ended[key]
        self.assigned[key] = one
        if key not in self.running or self.running[key].epoch != one.epoch:
            self.started.append((key, one.epoch))
        if (one.revision, key[1]) in self.bad:
            reason = loop_pb2.Reason(code="failed", message="it raises at once", node=key[1])
            self.report(key, loop_pb2.LOOP_STATE_ERROR, reason=reason)
        elif self.acknowledges:
            paused = one.desired_state == loop_pb2.DESIRED_STATE_PAUSED
            self.report(key, loop_pb2.LOOP_STATE_PAUSED if paused else loop_pb2.LOOP_STATE_RUNNING)

    def _release(self, release: pb.Release) -> None:
        key = _key(release.loop)
        known = self.assigned.pop(key, None)
        self.ended.pop(key, None)
        if not self.releases or (known is not None and key not in self.running):
            return
        ran = self.running.pop(key, None)
        sequence = max(one.sequence if one is not None else 0 for one in (known, ran))  # 0: it never heard of it
        status = loop_pb2.LoopStatus(
            loop=release.loop, epoch=release.epoch, sequence=sequence, state=loop_pb2.LOOP_STATE_STOPPED
        )
        status.committed = ran.committed if ran is not None else 0
        self._beats += 1
        self.say(pb.SessionRequest(report=pb.Report(sequence=self._beats, statuses=[status])))

    async def _beat(self) -> None:
        await self.until(lambda: self.welcome is not None)
        while self.welcome is not None:
            await asyncio.sleep(self.welcome.heartbeat_interval.ToTimedelta().total_seconds())
            self._beats += 1
            beat = pb.Heartbeat(sequence=self._beats, redis_reachable=self.redis_silence_s is None)
            if self.redis_silence_s is not None:
                beat.redis_silence.FromMilliseconds(round(self.redis_silence_s * 1e3))
            self.say(pb.SessionRequest(heartbeat=beat))


def _key(ref: loop_pb2.LoopRef) -> Key:
    return ref.workflow, ref.loop, ref.replica
