"""Carries out what the session's machine decides: channels, one stream, one timer. The only place that knows gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import grpc
import grpc.aio

from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import dispatcher_service_pb2_grpc
from treadle_agent.session.machine import Machine
from treadle_agent.session.outputs import Close, Deliver, Open, Output, Send

_log = logging.getLogger(__name__)

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.use_local_subchannel_pool", 1),  # else gRPC's own back-off of up to two minutes adds to ours
    ("grpc.keepalive_time_ms", 1_000),
    # Overdue answers to heartbeats end a session sooner; on a slow, lossy link pings take their time.
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.bdp_probe", 0),  # a ping for whatever is read, with its answer: more than a heartbeat costs
    ("grpc.http2.lookahead_bytes", 1024 * 1024),  # so much in flight without it: as fast on a slow link
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),  # all assignments of an agent in one message
    ("grpc.max_send_message_length", 256 * 1024 * 1024),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for mutual TLS; without a certificate the agent only checks the controller's."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files now: renewed certificates are used from the next session on. Raises OSError."""
        key = None if self.key is None else self.key.read_bytes()
        cert = None if self.cert is None else self.cert.read_bytes()
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, cert)


class Connection(Protocol):
    """One stream to a controller. `run` speaks until it ends; `close` ends it, and then nothing is said any more."""

    address: str
    task: asyncio.Task[None] | None

    def send(self, request: wire.SessionRequest) -> None: ...

    def close(self) -> None: ...

    async def run(self) -> None: ...


OnMessage = Callable[[Connection, wire.SessionResponse], None]
OnBroken = Callable[[Connection, str], None]
Connect = Callable[[str, OnMessage, OnBroken], Connection]


class Session:
    """Keeps the agent in session with a controller until it is stopped.

    `deliver` gets Welcome, Assignments and LogSubscription messages, in order, on the event loop. `connect` makes
    connections, gRPC channels unless told otherwise; `clock` is monotonic.
    """

    def __init__(
        self,
        machine: Machine,
        deliver: Callable[[object], None],
        *,
        tls: Tls | None = None,
        connect: Connect | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.machine = machine
        self._deliver = deliver
        self._connect = connect if connect is not None else partial(_Channel, tls)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._connection: Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._flushing = False
        self._acted = asyncio.Event()

    def start(self) -> None:
        """Connect now."""
        self.act(self.machine.tick(self._clock()))

    async def stop(self) -> None:
        """Close the stream; returns when the channels are closed."""
        self.act(self.machine.stop())
        if self._timer is not None:
            self._timer.cancel()
        while self._closing:
            await asyncio.wait(self._closing)

    def flush_soon(self) -> None:
        """Send what is urgent at the end of this turn of the event loop, so that many changes are one message."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def act(self, outputs: Sequence[Output]) -> None:
        """Carry out outputs of the machine, and set the timer anew."""
        for output in outputs:
            match output:
                case Open(address):
                    self._open(address)
                case Send(request):
                    if self._connection is not None:
                        self._connection.send(request)
                case Close(reason):
                    self._close(reason)
                case Deliver(message):
                    self._deliver(message)
        self._set_timer()
        self._acted.set()

    async def acted(self) -> None:
        """Wait until the machine has taken in something more."""
        self._acted.clear()
        await self._acted.wait()

    def _flush(self) -> None:
        self._flushing = False
        self.act(self.machine.flush(self._clock()))

    def _open(self, address: str) -> None:
        connection = self._connect(address, self._received, self._broken)
        self._connection = connection
        task = self._loop.create_task(connection.run(), name=f"session {address}")
        connection.task = task
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _close(self, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _log.info("session with %s is over: %s", connection.address, reason)
            connection.close()

    def _received(self, connection: Connection, message: wire.SessionResponse) -> None:
        # What an older stream still has to say is refused.
        if connection is self._connection:
            self.act(self.machine.received(message, self._clock()))

    def _broken(self, connection: Connection, reason: str) -> None:
        if connection is self._connection:
            self.act(self.machine.broken(reason, self._clock()))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.machine.deadline
        if deadline is not None:
            delay = max(0.0, deadline - self._clock())
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.act(self.machine.tick(self._clock()))


class _Channel:
    """One channel with one stream. What is sent goes through a queue to its one writer."""

    def __init__(self, tls: Tls | None, address: str, on_message: OnMessage, on_broken: OnBroken) -> None:
        self.address = address
        self.task: asyncio.Task[None] | None = None
        self._tls = tls
        self._on_message = on_message
        self._on_broken = on_broken
        self._requests: asyncio.Queue[wire.SessionRequest] = asyncio.Queue()
        self._closed = False

    def send(self, request: wire.SessionRequest) -> None:
        self._requests.put_nowait(request)

    def close(self) -> None:
        self._closed = True
        # Not when it is this task that brought the reason: it sees that it is closed, and leaves.
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def run(self) -> None:
        """Speak until the stream ends, and say why."""
        try:
            reason = await self._speak()
        except grpc.aio.AioRpcError as exc:
            reason = f"{exc.code().name.lower().replace('_', '-')}: {exc.details()}"
        except OSError as exc:
            reason = f"can't read the TLS files: {exc}"
        except asyncio.CancelledError:
            return  # closed from here, which is the only one to cancel this task
        except Exception:  # noqa: BLE001 - whatever it was, it ends this session and no other
            _log.exception("a message of %s could not be handled", self.address)
            reason = "a message could not be handled"
        self._on_broken(self, reason)

    async def _speak(self) -> str:
        async with self._channel() as channel:
            stub = dispatcher_service_pb2_grpc.DispatcherServiceStub(channel)
            call = stub.Session()
            writing = asyncio.create_task(self._write(call), name=f"write to {self.address}")
            try:
                async for message in call:
                    self._on_message(self, message)
                    if self._closed:
                        break
            finally:
                writing.cancel()
                call.cancel()  # a stream left open would keep its channel from closing
        return "the controller ended the stream"

    def _channel(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self.address, options=OPTIONS)
        return grpc.aio.secure_channel(self.address, self._tls.credentials(), options=OPTIONS)

    async def _write(self, call: grpc.aio.StreamStreamCall[wire.SessionRequest, wire.SessionResponse]) -> None:
        # Not an iterator given to gRPC: it leaves one behind that is still running, and Python complains.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader hears why
            while True:
                await call.write(await self._requests.get())
