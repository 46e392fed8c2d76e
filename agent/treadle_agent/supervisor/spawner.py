"""The supervisor's end of the forkserver: asks for children and hears of their ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from treadle_agent.errors import SpawnFailed
from treadle_agent.setup import Exited, Forked, Refused, Said, Setup

START_TIMEOUT_S: Final = 30.0  # preloading, on a machine that is busy
FORK_TIMEOUT_S: Final = 10.0
_STOPPED: Final = "the forkserver is being stopped"
_MAX_PACKET: Final = 64 * 1024
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Said).decode


class Spawner:
    """Starts the forkserver, from the main thread, and asks it for children.

    `on_exit(pid, code)` is called for each child that ended; `on_lost()` when the forkserver itself did, and with
    it, by the kernel, all its children. `preload`: modules that children need beside the usual ones.
    """

    def __init__(self, *preload: str) -> None:
        self._preload = preload
        self.on_exit: Callable[[int, int], None] = _nobody
        self.on_lost: Callable[[], None] = _nobody
        self._requests = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._hello: asyncio.Future[bytes] | None = None  # its first word
        self.pid = 0

    def launch(self) -> None:
        """Start the forkserver; `ready` waits until it has preloaded."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # -P: a file in the current folder must not hide a module, such as the user's numbers.py that of Python.
            module = "treadle_agent.pools.forkserver"
            command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid()), *self._preload]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pid = self._process.pid
        ours.setblocking(False)
        self._socket = ours

    async def ready(self) -> None:
        """Wait until the forkserver has preloaded. Raises SpawnFailed."""
        loop = asyncio.get_running_loop()
        ours = self._socket
        if ours is None:
            raise SpawnFailed("the forkserver is not running")
        # Whoever stops us closes the socket, and a socket that was closed here tells nobody who waits for it.
        self._hello = hello = asyncio.ensure_future(loop.sock_recv(ours, _MAX_PACKET))
        await asyncio.wait([hello], timeout=START_TIMEOUT_S)
        if self._stopping:
            raise SpawnFailed(_STOPPED)
        if not hello.done() or hello.exception() is not None:
            why = hello.exception() if hello.done() else f"not within {START_TIMEOUT_S:g} s"
            await self.stop()
            raise SpawnFailed(f"the forkserver does not answer: {why}")
        if not hello.result():
            await self.stop()
            raise SpawnFailed("the forkserver ended while it was loading")
        loop.add_reader(ours.fileno(), self._hear)

    async def spawn(self, setup: Setup, fds: list[int]) -> int:
        """Return the pid of a new child that owns copies of the descriptors. Raises SpawnFailed."""
        request = next(self._requests)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answer
        try:
            if self._socket is None:
                raise SpawnFailed("the forkserver is not running")
            packet = _encode(msgspec.structs.replace(setup, request=request))
            socket.send_fds(self._socket, [packet], fds)
            return await asyncio.wait_for(answer, FORK_TIMEOUT_S)
        except (TimeoutError, OSError) as exc:
            raise SpawnFailed(f"the forkserver does not fork: {str(exc) or 'no answer'}") from exc
        finally:
            del self._waiting[request]

    async def stop(self) -> None:
        """End the forkserver, and with it every child that is left."""
        self._stopping = True
        self._hang_up()
        if self._hello is not None:
            self._hello.cancel()
        for request in list(self._waiting):
            self._settle(request, SpawnFailed(_STOPPED))
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _hear(self) -> None:
        while self._socket is not None:
            try:
                packet = self._socket.recv(_MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._lose()
                return
            self._take(_decode(packet))

    def _take(self, said: Said) -> None:
        match said:
            case Exited(pid, code):
                self.on_exit(pid, code)
            case Forked(request, pid):
                self._settle(request, pid)
            case Refused(request, message):
                self._settle(request, SpawnFailed(f"the forkserver can't fork: {message}"))

    def _settle(self, request: int, result: int | SpawnFailed) -> None:
        answer = self._waiting.get(request)
        if answer is None or answer.done():
            return
        if isinstance(result, SpawnFailed):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def _lose(self) -> None:
        self._hang_up()
        for request in list(self._waiting):
            self._settle(request, SpawnFailed("the forkserver is gone"))
        if self._process is not None:
            self._process.kill()
            self._process.wait()  # killed: at once
            self._process = None
        if not self._stopping:
            self.on_lost()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(ValueError, OSError):
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _nobody(*_: int) -> None:
    """Hear of an end when nobody listens yet."""
