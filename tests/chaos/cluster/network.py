"""The network between agents and the controller: streams that keep their order, and links that fail.

A link is one agent's way to the controller. A partition of one direction holds what is sent there, as TCP does; with
keepalive both ends find that out after a while, without it only heartbeats do. Messages of one stream never overtake
each other; those of different streams do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tests.chaos.cluster.clockwork import Clockwork, Process
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_agent.session.stream import OnBroken, OnMessage

Say = Callable[[str, str], None]


class Server(Protocol):
    """Who takes streams: the controller."""

    process: Process

    def accept(self, stream: Stream) -> None: ...


@dataclass(slots=True)
class Link:
    """One agent's way to the controller."""

    agent: str
    delay_s: float = 0.001
    jitter_s: float = 0.002
    up: bool = True  # agent to controller
    down: bool = True
    keepalive: bool = True
    streams: list[Stream] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.up and self.down


class Network:
    """All links and the server behind them, while there is one."""

    def __init__(self, clockwork: Clockwork, chance: Random, say: Say) -> None:
        self.server: Server | None = None
        self.links: dict[str, Link] = {}
        self.world = Process(clockwork, "network")
        self.chance = chance
        self.say = say
        self.watch_answer: Callable[[Stream, pb.SessionResponse], None] | None = None
        self.watch_request: Callable[[Stream, pb.SessionRequest], None] | None = None
        self.breach: Callable[[str], None] = lambda _what: None
        self._numbers = 0

    def connect(self, link: Link, client: Process, on_message: OnMessage, on_broken: OnBroken) -> Stream:
        self._numbers += 1
        stream = Stream(self, link, self._numbers, client, on_message, on_broken)
        link.streams.append(stream)
        return stream

    def partition(self, agent: str, *, up: bool, down: bool, keepalive: bool) -> None:
        """Let only these directions pass from now on."""
        link = self.links[agent]
        link.up, link.down, link.keepalive = up, down, keepalive
        self.say("network", f"{agent}: up {'passes' if up else 'held'}, down {'passes' if down else 'held'}")
        if link.whole:
            for stream in list(link.streams):
                stream.release()
        elif keepalive:
            for stream in list(link.streams):
                self.world.call_later(1.0 + 1.2 * self.chance.random(), stream.find_out)

    def cut(self, agent: str) -> None:
        """Reset the streams of an agent, and lose what is on its way."""
        for stream in list(self.links[agent].streams):
            stream.cut("reset")

    def lose_answer(self, agent: str) -> None:
        """Lose the next message with assignments to an agent, in the middle of a stream."""
        for stream in self.links[agent].streams:
            stream.loses_next = True

    def server_died(self) -> None:
        """The controller's machine lives on and says so."""
        self.server = None
        for link in self.links.values():
            for stream in list(link.streams):
                stream.cut("the controller died")


class _Way:
    """One direction of a stream: what is on its way, in order."""

    def __init__(
        self, stream: Stream, deliver: Callable[[object], None], receiver: Callable[[], Process | None]
    ) -> None:
        self._stream = stream
        self._deliver = deliver
        self._receiver = receiver
        self._arrives = 0.0
        self._held: list[object] = []

    def send(self, message: object, *, passes: bool) -> None:
        if passes and not self._held:
            self._launch(message)
        else:
            self._held.append(message)

    def release(self) -> None:
        held, self._held = self._held, []
        for message in held:
            self._launch(message)

    def _launch(self, message: object) -> None:
        link, network = self._stream.link, self._stream.network
        delay = link.delay_s + link.jitter_s * network.chance.random()
        self._arrives = max(self._arrives, network.world.time() + delay)
        network.world.call_at(self._arrives, self._arrive, message)

    def _arrive(self, message: object) -> None:
        receiver = self._receiver()
        if self._stream.over or receiver is None:
            return
        receiver.call_soon(self._deliver, message)


class Stream:
    """One stream; for the agent's Session it is a Connection. `None` on a way is its end."""

    def __init__(
        self,
        network: Network,
        link: Link,
        number: int,
        client: Process,
        on_message: OnMessage,
        on_broken: OnBroken,
    ) -> None:
        self.network = network
        self.link = link
        self.number = number
        self.address = "controller"
        self.task: asyncio.Task[None] | None = None
        self.requests: asyncio.Queue[pb.SessionRequest | None] = asyncio.Queue()
        self.serving: asyncio.Task[None] | None = None
        self.session = ""
        self.over = False  # nothing arrives any more
        self.loses_next = False
        self._version = 0
        self._client = client
        self._server: Process | None = None
        self._on_message = on_message
        self._on_broken = on_broken
        self._closed = False
        self._broken: asyncio.Future[str] = client.create_future()
        self._up = _Way(self, self._reach_server, self._server_process)
        self._down = _Way(self, self._reach_client, lambda: client)

    # The agent's end.

    def send(self, request: pb.SessionRequest) -> None:
        self._up.send(request, passes=self.link.up)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._up.send(None, passes=self.link.up)
            if not self._broken.done():
                self._broken.cancel()

    async def run(self) -> None:
        try:
            reason = await self._broken
        except asyncio.CancelledError:
            return
        if not self._closed:
            self._on_broken(self, reason)

    def _reach_client(self, message: object) -> None:
        if self._closed:
            return
        if isinstance(message, pb.SessionResponse):
            after = self._version
            self._on_message(self, message)
            if message.HasField("assignments") and not self._closed:
                self._follow(message.assignments, after)
        else:
            self._break("the controller ended the stream")

    def _follow(self, assignments: pb.Assignments, after: int) -> None:
        """See that the agent took the message for what follows the last one."""
        if assignments.kind == pb.ASSIGNMENTS_KIND_INCREMENTAL and assignments.applies_to != after:
            self.network.breach(f"{self.link.agent} takes changes to {assignments.applies_to}, but has {after}")
        self._version = assignments.results_in

    def _break(self, reason: str) -> None:
        if not self._broken.done():
            self._broken.set_result(reason)

    # The controller's end.

    def answer(self, response: pb.SessionResponse) -> None:
        if self.network.watch_answer is not None:
            self.network.watch_answer(self, response)
        if self.loses_next and response.WhichOneof("message") == "assignments":
            self.loses_next = False
            self.network.say("network", f"{self.link.agent}: a message with assignments is lost")
            return
        self._down.send(response, passes=self.link.down)

    def finish(self) -> None:
        """End the stream from the controller's side."""
        self._down.send(None, passes=self.link.down)
        self._forget()

    def _server_process(self) -> Process | None:
        if self._server is None:
            server = self.network.server
            if server is None or not server.process.alive:
                self._client.call_soon(self._break, "connection refused")
                self._forget()
                return None
            self._server = server.process
            server.process.call_soon(server.accept, self)
        return self._server

    def _reach_server(self, message: object) -> None:
        if isinstance(message, pb.SessionRequest):
            if self.network.watch_request is not None:
                self.network.watch_request(self, message)
            self.requests.put_nowait(message)
        elif self.serving is not None:
            self.serving.cancel()

    # Failures.

    def release(self) -> None:
        self._up.release()
        self._down.release()

    def find_out(self) -> None:
        """Keepalive has not been answered: both ends give up, unless the link is whole again."""
        if not self.link.whole and self.link.keepalive:
            self.cut("keepalive was not answered")

    def cut(self, reason: str) -> None:
        if self.over:
            return
        self.over = True
        self._forget()
        self._client.call_soon(self._break, reason)
        if self._server is not None and self.serving is not None:
            self._server.call_soon(self.serving.cancel)

    def _forget(self) -> None:
        if self in self.link.streams:
            self.link.streams.remove(self)
