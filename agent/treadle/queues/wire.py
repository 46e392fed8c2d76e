"""One connection to Redis, as thin as it can be: packed commands out, answers to callbacks in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
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
    """See the module. Made by `connect`.

    A `shared` wire may be written to by other threads as well: see `send_directly`. It writes at once or keeps what is
    to follow itself, so that it knows when nothing is ahead of the next call. It needs uvloop, whose transports write
    without letting another thread in.
    """

    def __init__(self, on_lost: Callable[[], None], *, shared: bool = False) -> None:
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._calls: deque[Callback] = deque()
        self._transport: asyncio.Transport | None = None
        self._on_lost = on_lost
        self._shared = shared
        self._lock = threading.Lock()  # held while a call takes its place in the row
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None  # the transport's, once more: of a shared wire
        self._lent: socket.socket | None = None  # the same, of a wire that somebody else reads
        self._held: list[bytes] = []  # to be written, in this order, after what the transport has
        self._holds = 0  # answers are handed out, or the transport has enough
        self.answers = 0
        self.herald: Callable[[int], None] | None = None  # told how many bytes are here before they are read

    @property
    def direct(self) -> bool:
        """Whether other threads may send on it."""
        return self._socket is not None

    @property
    def waiting(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        if self._shared and transport.get_extra_info("ssl_object") is None:
            self._transport.set_write_buffer_limits(high=0)  # it writes at once, and says so when it could not
            self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            self._socket.setblocking(False)

    def send(self, payload: bytes, callback: Callback) -> None:
        """Send packed bytes; the callback gets the answer, an error reply, or GONE."""
        if self._transport is None:
            callback(GONE)
        elif self._socket is None:
            self._calls.append(callback)
            self._transport.write(payload)
        else:
            with self._lock:
                self._calls.append(callback)
                if self._holds or self._held:
                    self._held.append(payload)
                else:
                    self._transport.write(payload)

    def send_directly(self, payload: bytes, callback: Callback) -> bool:
        """Send from any thread, without a turn of the event loop; False when that can't be done now."""
        with self._lock:
            if self._socket is None or self._holds or self._held:
                return False
            self._calls.append(callback)
            try:
                sent = self._socket.send(payload)
            except OSError:
                sent = 0  # not now, or never again: the event loop finds out
            if sent == len(payload):
                return True
            self._held.append(payload[sent:])
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits for the answer
            self._loop.call_soon_threadsafe(self._write_held)
        return True

    def _write_held(self) -> None:
        with self._lock:
            if self._held and not self._holds and self._transport is not None:
                held, self._held = self._held, []
                self._transport.write(b"".join(held))

    def _hold(self) -> None:
        with self._lock:
            self._holds += 1

    def _release(self) -> None:
        with self._lock:
            self._holds -= 1
        if self._held:
            self._write_held()

    def pause_writing(self) -> None:
        """Keep what is sent from now on. Called by the transport while it writes, so under the lock."""
        if self._socket is not None:
            self._holds += 1

    def resume_writing(self) -> None:
        """Go on writing."""
        if self._socket is not None:
            self._release()

    def lend(self) -> socket.socket | None:
        """Stop reading and return the socket for somebody who reads in our place; None when that can't be done."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return None
        if transport.get_extra_info("ssl_object") is not None:
            return None
        transport.pause_reading()
        lent = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        lent.setblocking(False)
        self._lent = lent
        return lent

    def take_back(self, *, asked: bool) -> None:
        """Read again. Unless it was `asked`, the last call was answered, and its callback is dropped."""
        self._lent = None
        if self._transport is None:
            return
        if not asked and self._calls:
            self._calls.popleft()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are complete."""
        if self.herald is not None:
            self.herald(len(data))
        if self._socket is None:
            self._hand_out(data)
            return
        self._hold()  # what is sent in return to many answers is written in one piece
        try:
            self._hand_out(data)
        finally:
            self._release()

    def _hand_out(self, data: bytes) -> None:
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
        with self._lock:
            self._transport = None
            self._close_socket()
            calls, self._calls = self._calls, deque()
        for callback in calls:
            callback(GONE)
        self._on_lost()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close_copy(self) -> None:
        """Close the connection's descriptor in a fork of this process; the original keeps its own."""
        self._close_socket()
        if self._lent is not None:
            self._lent.close()
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    os.close(sock.fileno())


async def connect(
    server: Server, on_lost: Callable[[], None], *, name: str, shared: bool = False, timeout_s: float = 5.0
) -> Wire:
    """Open a connection and log in. Raises OSError, TimeoutError or hiredis.ReplyError."""
    loop = asyncio.get_running_loop()
    wire = Wire(on_lost, shared=shared)
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
