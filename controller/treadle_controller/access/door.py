"""The door: TLS in front of the gRPC server, which listens on a Unix socket in a folder of our own behind it.

gRPC's own TLS in Python either demands a certificate of everybody or asks nobody for one, so that enrolment and tokens
would need a port of their own; it does not say whom it turned away and why; and it can't end a connection. Here one
port asks for a certificate and takes callers without one (they are nobody until they show a token), refusals are told
to the audit, new files are used from the next connection on, and whoever is revoked is cut off at once.

A connection of the Unix socket is bound to a path of its own: that path is what gRPC calls the peer, and by it we know
who calls. Whoever is not known here gets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

from treadle_controller.access.authority import read_caller
from treadle_controller.access.caller import Caller
from treadle_controller.errors import StartFailed, start_failure

_log = logging.getLogger(__name__)
_HANDSHAKE_S: Final = 10.0
_CHUNK: Final = 256 * 1024
_LONGEST_S: Final = 30 * 86_400.0  # the longest that a timer of the event loop is set for

_ENDS: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)  # of a connection

OnRefused = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `authority`: whose certificates callers may show; without it they show none."""

    cert: Path
    key: Path
    authority: Path | None = None

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when a file does. Raises OSError."""
        files = (self.cert, self.key, *((self.authority,) if self.authority is not None else ()))
        return tuple((found.st_ino, found.st_mtime_ns) for found in map(os.stat, files))

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises OSError or ValueError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        # A resumed session would be taken at its word about a certificate that has expired meanwhile.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_cert_chain(self.cert, self.key)
        if self.authority is not None:
            context.load_verify_locations(self.authority)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


@dataclass(slots=True)
class _Connection:
    caller: Caller
    scope: anyio.CancelScope


class Door:
    """See the module. `behind` is where gRPC has to listen; `address` where callers knock, once it is open."""

    def __init__(self, files: TlsFiles, on_refused: OnRefused) -> None:
        self._files = files
        self._on_refused = on_refused
        self._folder = Path(tempfile.mkdtemp(prefix="treadle-"))  # 0700
        self._numbers = itertools.count(1)
        self._connections: dict[str, _Connection] = {}
        self._stamp = self._try_stamp()
        self._context = self._load()
        self._task: asyncio.Task[None] | None = None
        self.behind = f"unix:{self._folder / 'api'}"
        self.address = ""

    async def open(self, listen: str) -> None:
        """Bind and serve. Raises StartFailed when the address can't be used."""
        host, _, port = listen.rpartition(":")
        try:
            listener = await anyio.create_tcp_listener(local_host=host.strip("[]"), local_port=int(port), backlog=1024)
        except OSError as exc:
            raise start_failure(f"cannot listen on {listen}: {exc}", exc) from exc
        port_bound = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's
        self.address = f"{host}:{port_bound}"
        self._task = asyncio.create_task(listener.serve(self._serve), name="door")

    async def close(self) -> None:
        """Cut everybody off; legal at any time, also twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def caller(self, peer: str) -> Caller | None:
        """Return who is at the other end of what gRPC calls a peer; None when it did not come through here."""
        found = self._connections.get(peer)
        return None if found is None else found.caller

    def cut(self, kind: str, name: str) -> int:
        """End all connections of a caller; returns how many there were."""
        found = [one for one in self._connections.values() if (one.caller.kind, one.caller.name) == (kind, name)]
        for one in found:
            one.scope.cancel()
        return len(found)

    async def _serve(self, stream: SocketStream) -> None:
        """Carry one connection for as long as it, and the certificate that it has shown, lasts."""
        async with stream:
            address = _address(stream)
            try:
                with anyio.fail_after(_HANDSHAKE_S):
                    secure = await TLSStream.wrap(
                        stream, server_side=True, ssl_context=self._current(), standard_compatible=False
                    )
            except ssl.SSLError as exc:
                self._on_refused(address, _why(exc))
                return
            except _ENDS:
                return  # who leaves before a word was said, as whoever looks whether a port is open
            caller = _caller(secure, address)
            with anyio.CancelScope() as scope:
                scope.deadline = anyio.current_time() + min(_LONGEST_S, caller.expires - time.time())
                await self._carry(secure, _Connection(caller, scope))

    async def _carry(self, secure: TLSStream, connection: _Connection) -> None:
        inner = socket.socket(socket.AF_UNIX)
        inner.setblocking(False)
        path = self._folder / f"c{next(self._numbers)}"
        peer = f"unix:{path}"
        try:
            inner.bind(str(path))
            self._connections[peer] = connection  # before gRPC hears a word of it
            await asyncio.get_running_loop().sock_connect(inner, self.behind.removeprefix("unix:"))
            path.unlink()
            reader, writer = await asyncio.open_unix_connection(sock=inner)
            try:
                async with anyio.create_task_group() as both:
                    both.start_soon(_pump_in, secure, writer, both.cancel_scope)
                    both.start_soon(_pump_out, reader, secure, both.cancel_scope)
            finally:
                writer.close()
        except OSError as exc:
            _log.warning("a connection of %s could not be handed on: %s", connection.caller, exc)
        finally:
            self._connections.pop(peer, None)
            path.unlink(missing_ok=True)
            inner.close()

    def _current(self) -> ssl.SSLContext:
        """Return the context, of new files if there are any; files that can't be used change nothing."""
        stamp = self._try_stamp()
        if stamp is not None and stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._files.context()
            except (OSError, ValueError) as exc:
                _log.error("the new TLS files can't be used, the old ones stay: %s", exc)
            else:
                _log.info("new TLS files are in use")
        return self._context

    def _try_stamp(self) -> tuple[tuple[int, int], ...] | None:
        try:
            return self._files.stamp()
        except OSError:
            return None

    def _load(self) -> ssl.SSLContext:
        try:
            return self._files.context()
        except (OSError, ValueError) as exc:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise _unusable(exc) from exc


def _unusable(exc: OSError | ValueError) -> StartFailed:
    message = f"the TLS files can't be used: {exc}"
    if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError):
        return start_failure(message, exc)
    # What is in them may be mended by itself: whoever renews them may be between the two.
    return StartFailed(message)


async def _pump_in(source: TLSStream, sink: asyncio.StreamWriter, both: anyio.CancelScope) -> None:
    """Carry what a caller says until either side ends; the other way ends with it."""
    try:
        while True:
            sink.write(await source.receive(_CHUNK))
            await sink.drain()
    except _ENDS:
        both.cancel()


async def _pump_out(source: asyncio.StreamReader, sink: TLSStream, both: anyio.CancelScope) -> None:
    """Carry what a caller is answered."""
    with contextlib.suppress(*_ENDS):
        while answer := await source.read(_CHUNK):
            await sink.send(answer)
    both.cancel()


def _caller(secure: TLSStream, address: str) -> Caller:
    shown = secure.extra(TLSAttribute.peer_certificate_binary, None)  # noqa: S610 - anyio's
    return Caller("nobody", address=address) if shown is None else read_caller(shown, address)


def _address(stream: SocketStream) -> str:
    remote: Any = stream.extra(SocketAttribute.remote_address)  # noqa: S610 - anyio's
    host, port = remote[0], remote[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {exc.verify_message}"
    return f"no TLS: {exc.reason or exc}"
