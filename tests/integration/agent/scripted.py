"""A controller that does what a test tells it: the real protocol on a real port, and no decisions of its own."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc.aio
import msgspec

from treadle.queues.admin import QueueAdmin
from treadle.queues.tenure import LoopKey
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import dispatcher_service_pb2_grpc, loop_pb2
from treadle.workflow.plan import Plan

DEADLINE_S = 30.0
BYSTANDER_S = 0.05


class ScriptedController(dispatcher_service_pb2_grpc.DispatcherServiceServicer):
    """Serves one agent from a thread of its own. What it saw is in `hellos`, `statuses`, `events`, `lines`."""

    def __init__(self, redis_url: str) -> None:
        self.hellos: list[wire.Hello] = []
        self.statuses: dict[str, loop_pb2.LoopStatus] = {}
        self.history: list[tuple[str, str]] = []  # (loop, state), each change
        self.events: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.farewells = 0
        self.longest_silence_s = 0.0  # between two messages of an agent in session
        self.longest_late_s = 0.0  # that this thread, which does next to nothing, was woken too late
        self._heard_at: float | None = None
        self.port = 0
        self.namespace = f"test-{secrets.token_hex(4)}"
        self.redis_id = ""
        self.answer_heartbeats = True
        self.release_on_farewell = True
        self.assigned: dict[str, wire.Assignment] = {}
        self._version = 0
        self._epoch = 0
        self._redis_url = redis_url
        self._outgoing: asyncio.Queue[wire.SessionResponse | None] | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted controller", daemon=True)
        self._server: grpc.aio.Server | None = None

    # For tests: all blocking.

    def start(self) -> None:
        self._thread.start()
        self._do(self._prepare_redis())
        self._do(self._serve())
        self._bystander = asyncio.run_coroutine_threadsafe(self._stand_by(), self._loop)

    def stop(self) -> None:
        self._bystander.cancel()
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def down(self) -> None:
        """Be gone, and keep the port in mind."""
        self._do(self._stop())

    def up(self) -> None:
        """Be there again."""
        self._do(self._serve())

    def cut(self) -> None:
        """End the stream."""
        self._loop.call_soon_threadsafe(self._say, None)

    def assign(self, *plans: Plan, epochs: bool = True, **fields: Any) -> None:
        """Assign loops, each under a new epoch that Redis knows of."""
        self._do(self._assign(plans, fields, epochs))

    def change(self, loop: str, **fields: Any) -> None:
        """Send an assignment again, changed, at the same epoch."""
        self._do(self._change(loop, fields))

    def release(self, *loops: str) -> None:
        self._do(self._release(loops))

    def subscribe(self, loop: str) -> None:
        message = wire.SessionResponse(log_subscription=wire.LogSubscription(loops=[self.assigned[loop].loop]))
        self._loop.call_soon_threadsafe(self._say, message)

    def queue(self, name: str) -> Any:
        """Return the figures of a queue."""
        return self._do(self._ask(lambda admin: admin.depths([name])))[name]

    def do(self, question: Callable[[QueueAdmin], Any]) -> Any:
        """Ask the queues something, or have them do it."""
        return self._do(self._ask(question))

    def peek(self, name: str, n: int) -> list[Any]:
        return [item.item for item in self._do(self._ask(lambda admin: admin.peek(name, n)))]

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
        """Wait until a condition of what was seen holds."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                message = f"not within {timeout_s} s: {what}; saw {self.history[-20:]}"
                raise AssertionError(message)
            with self._changed:
                self._changed.wait(0.05)  # queue figures change without our hearing of it
        return found

    def state(self, loop: str) -> str:
        status = self.statuses.get(loop)
        return "" if status is None else loop_pb2.LoopState.Name(status.state).removeprefix("LOOP_STATE_")

    def wait_state(self, loop: str, state: str) -> loop_pb2.LoopStatus:
        self.wait(lambda: self.state(loop) == state, f"{loop} is {state}")
        return self.statuses[loop]

    # The service.

    async def Session(
        self, request_iterator: AsyncIterator[wire.SessionRequest], context: Any
    ) -> AsyncIterator[wire.SessionResponse]:
        outgoing: asyncio.Queue[wire.SessionResponse | None] = asyncio.Queue()
        self._outgoing = outgoing
        reader = asyncio.create_task(self._read(request_iterator))
        try:
            while (message := await outgoing.get()) is not None:
                yield message
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[wire.SessionRequest]) -> None:
        async for request in requests:
            self._hear(request)
            with self._changed:
                self._changed.notify_all()

    def _hear(self, request: wire.SessionRequest) -> None:
        now = time.monotonic()
        if self._heard_at is not None:
            self.longest_silence_s = max(self.longest_silence_s, now - self._heard_at)
        self._heard_at = now
        match request.WhichOneof("message"):
            case "hello":
                self.hellos.append(request.hello)
                self._note(request.hello.running)
                self._say(wire.SessionResponse(welcome=self._welcome()))
                self._say(wire.SessionResponse(assignments=self._complete()))
            case "heartbeat":
                self._note(request.heartbeat.statuses)
                if self.answer_heartbeats:
                    answer = wire.HeartbeatAnswer(sequence=request.heartbeat.sequence)
                    self._say(wire.SessionResponse(heartbeat_answer=answer))
            case "report":
                self._note(request.report.statuses)
                self.events += [(event.name, event.code) for event in request.report.events]
                answers = [wire.STATUS_ANSWER_ACCEPTED] * len(request.report.statuses)
                report = wire.ReportAnswer(sequence=request.report.sequence, answers=answers)
                self._say(wire.SessionResponse(report_answer=report))
            case "logs":
                self.lines += [line.message for line in request.logs.lines]
            case "farewell":
                self.farewells += 1
                if self.release_on_farewell:
                    self._release_now(list(self.assigned))

    def _note(self, statuses: Iterable[loop_pb2.LoopStatus]) -> None:
        for status in statuses:
            loop = status.loop.loop
            before = self.state(loop)
            self.statuses[loop] = status
            if self.state(loop) != before:
                self.history.append((loop, self.state(loop)))

    def _welcome(self) -> wire.Welcome:
        welcome = wire.Welcome(
            session_id=f"s{len(self.hellos)}", controller="scripted", namespace=self.namespace, redis_id=self.redis_id
        )
        welcome.heartbeat_interval.FromMilliseconds(500)
        welcome.lease.FromMilliseconds(1500)
        return welcome

    def _complete(self) -> wire.Assignments:
        self._version += 1
        return wire.Assignments(
            kind=wire.ASSIGNMENTS_KIND_COMPLETE, results_in=self._version, set=self.assigned.values()
        )

    def _increment(self, **fields: Any) -> None:
        self._version += 1
        self._say(
            wire.SessionResponse(
                assignments=wire.Assignments(
                    kind=wire.ASSIGNMENTS_KIND_INCREMENTAL,
                    applies_to=self._version - 1,
                    results_in=self._version,
                    **fields,
                )
            )
        )

    def _say(self, message: wire.SessionResponse | None) -> None:
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)

    # Steps, on the controller's own loop.

    async def _stand_by(self) -> None:
        while True:
            due = time.monotonic() + BYSTANDER_S
            await asyncio.sleep(BYSTANDER_S)
            self.longest_late_s = max(self.longest_late_s, time.monotonic() - due)

    async def _assign(self, plans: tuple[Plan, ...], fields: dict[str, Any], epochs: bool) -> None:
        made = [self._assignment(plan, fields) for plan in plans]
        if epochs:
            async with QueueAdmin(self._redis_url, self.namespace) as admin:
                keys = [LoopKey(each.loop.workflow, each.loop.loop, each.loop.replica) for each in made]
                writers = {queue: [key] for plan, key in zip(plans, keys, strict=True) for queue in plan.writes}
                await admin.enter_writers(writers)
                await admin.assign([(key, each.epoch) for key, each in zip(keys, made, strict=True)], term=1)
        self.assigned.update({each.loop.loop: each for each in made})
        self._increment(set=made)

    def _assignment(self, plan: Plan, fields: dict[str, Any]) -> wire.Assignment:
        self._epoch += 1
        ref = loop_pb2.LoopRef(namespace=self.namespace, workflow=plan.workflow, loop=plan.loop)
        queues = [
            wire.AssignedQueue(name=name, limit_messages=1_000_000, limit_bytes=1 << 28)
            for name in dict.fromkeys((*plan.reads, *plan.writes))
        ]
        settings = {"desired_state": loop_pb2.DESIRED_STATE_RUNNING, "sequence": 1, "revision": 1, **fields}
        return wire.Assignment(
            loop=ref, epoch=self._epoch, plan_json=msgspec.json.encode(plan), queues=queues, **settings
        )

    async def _change(self, loop: str, fields: dict[str, Any]) -> None:
        assignment = self.assigned[loop]
        assignment.sequence += 1
        for name, value in fields.items():
            setattr(assignment, name, value)
        self._increment(set=[assignment])

    async def _release(self, loops: tuple[str, ...]) -> None:
        self._release_now(list(loops))

    def _release_now(self, loops: list[str]) -> None:
        gone = [self.assigned.pop(loop) for loop in loops]
        self._increment(releases=[wire.Release(loop=each.loop, epoch=each.epoch) for each in gone])

    async def _ask(self, question: Callable[[QueueAdmin], Any]) -> Any:
        async with QueueAdmin(self._redis_url, self.namespace) as admin:
            return await question(admin)

    async def _prepare_redis(self) -> None:
        async with QueueAdmin(self._redis_url, self.namespace) as admin:
            await admin.load_functions()
            self.redis_id = await admin.namespace_id()

    async def _serve(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        dispatcher_service_pb2_grpc.add_DispatcherServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)
