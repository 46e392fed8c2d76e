"""One connection to Redis, as thin as it can be: packed commands out, answers to callbacks in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from treadle.queues.locate import Server


def pack(*args: Any) -> bytes:
    """Return a command as it goes over the wire. Arguments are text, bytes or numbers."""
    packed: bytes = hiredis.pack_command(args)
    return packed


class Gone:
    """The answer of a call whose connection went away: whether it was done is not known."""


GONE: Final = Gone()
_MORE: Final = object()
Callback = Callable[[Any], None]


class Wire(asyncio.Protocol):
    """See the module. Made by `connect`."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._calls: deque[Callback] = deque()
        self._transport: asyncio.Transport | None = None
        self._on_lost = on_lost
        self.answers = 0

    @property
    def waiting(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, payload: bytes, callback: Callback) -> None:
        """Send packed bytes; the callback gets the answer, an error reply, or GONE."""
        if self._transport is None:
            callback(GONE)
            return
        self._calls.append(callback)
        self._transport.write(payload)

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are complete."""
        reader = self._reader
        try:
            reader.feed(data)
            answer = reader.gets()
        except hiredis.ProtocolError:
            self.abort()  # this is no Redis
            return
        while answer is not _MORE:
            if not self._calls:
                self.abort()  # an answer to nothing
                return
            self.answers += 1
            self._calls.popleft()(answer)
            answer = reader.gets()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the reason changes nothing
        """Tell everybody who waits that there will be no answer."""
        self._transport = None
        calls, self._calls = self._calls, deque()
        for callback in calls:
            callback(GONE)
        self._on_lost()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def close_copy(self) -> None:
        """Close the connection's descriptor in a fork of this process; the original keeps its own."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    os.close(sock.fileno())


async def connect(server: Server, on_lost: Callable[[], None], *, name: str, timeout_s: float = 5.0) -> Wire:
    """Open a connection and log in. Raises OSError, TimeoutError or hiredis.ReplyError."""
    loop = asyncio.get_running_loop()
    wire = Wire(on_lost)
    async with asyncio.timeout(timeout_s):
        if server.path:
            await loop.create_unix_connection(lambda: wire, server.path)
        else:
            await loop.create_connection(lambda: wire, server.host, server.port, ssl=server.ssl_context())
        try:
            await _log_in(wire, server, name)
        except BaseException:
            wire.abort()
            raise
    return wire


async def _log_in(wire: Wire, server: Server, name: str) -> None:
    if server.password is not None:
        login = (server.username, server.password) if server.username else (server.password,)
        await request(wire, "AUTH", *login)
    if server.db:
        await request(wire, "SELECT", server.db)
    await request(wire, "CLIENT", "SETNAME", name)


async def request(wire: Wire, *args: Any, first: Callback | None = None) -> Any:
    """Send one command and return its answer; `first` is called with it as soon as it is here.

    Raises hiredis.ReplyError, or ConnectionError, and what `first` raises.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(answer: Any) -> None:
        if future.done():
            return
        if first is not None and answer is not GONE and not isinstance(answer, hiredis.ReplyError):
            try:
                first(answer)
            except Exception as exc:  # noqa: BLE001 - it is the caller's: raised where the answer is awaited
                future.set_exception(exc)
                return
        future.set_result(answer)

    wire.send(pack(*args), done)
    answer = await future
    if answer is GONE:
        msg = "the connection was lost"
        raise ConnectionError(msg)
    if isinstance(answer, hiredis.ReplyError):
        raise answer
    return answer
