"""The forkserver: a process that has imported what children need, and forks them on request.

Its own program, started by the supervisor before gRPC makes a channel there, and gRPC is not imported here. It has
one thread, runs no user code, and ends with the supervisor; its children end with it, since the kernel kills them.

Why not multiprocessing's: that one pickles, imports the main module again in each child, blocks its caller while it
forks, and leaves children behind when the caller is killed.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from typing import Final

import msgspec

from treadle.loop import collector
from treadle_agent import linux
from treadle_agent.setup import Exited, Forked, Refused, Said, Setup

_PRELOAD: Final = (
    "asyncio",
    "concurrent.futures.thread",
    "hiredis",
    "pydantic",
    "redis",
    "uvloop",
    "treadle.loop",
    "treadle.queues",
    "treadle_agent.pools.entry",
)
_REST_S: Final = 1.0  # without a request, and there is time for what would have delayed the first one
_MAX_PACKET: Final = 64 * 1024
_FDS: Final = 4
_ARENAS: Final = 2  # loops allocate while they hold the GIL, so there is nothing to gain from one for each thread
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Setup).decode


def main() -> None:
    """Preload, say so with an empty list, serve until the supervisor is gone: `forkserver FD PARENT [MODULE...]`."""
    linux.die_with(int(sys.argv[2]))
    linux.share_arenas(_ARENAS)
    for name in (*_PRELOAD, *sys.argv[3:]):
        importlib.import_module(name)
    importlib.import_module("treadle_agent.pools.classes").load_builtin()
    _share()
    collector.relax()
    ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()


def _share() -> None:
    """Keep what is shared now shared: no child's collector writes to these pages."""
    gc.collect()
    gc.freeze()


class ForkServer:
    """Forks children and reports their ends."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._wake, self._waker = socket.socketpair()
        self._pid = os.getpid()
        self._rested = False

    def serve(self) -> None:
        """Answer requests until the supervisor closes its end."""
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the supervisor stops first, and this ends with it
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            self._supervisor.send(_encode([]))
        except ConnectionError:  # it ended while this was loading: it can't be configured like that, say
            return
        while True:
            ready, _, _ = select.select([self._supervisor, self._wake], [], [], None if self._rested else _REST_S)
            if not ready:
                self._rest()
            if self._wake in ready:
                self._wake.recv(4096)
                self._reap()
            if self._supervisor in ready and not self._answer():
                return

    def _rest(self) -> None:
        """Load what nodes of treadle's load when they open, once for all children that are still to come."""
        self._rested = True
        importlib.import_module("treadle_agent.pools.classes").warm_up()
        _share()

    def _answer(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._supervisor, _MAX_PACKET, _FDS)
        except ConnectionError:  # it ended before it had read all that was said
            return False
        if not data:
            return False
        setup = _decode(data)
        try:
            pid = os.fork()
        except OSError as exc:
            self._say(Refused(setup.request, str(exc)))
        else:
            if pid == 0:
                self._become_child(setup, fds)
            self._say(Forked(setup.request, pid))
        for fd in fds:
            os.close(fd)
        return True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._say(Exited(pid, os.waitstatus_to_exitcode(status)))

    def _say(self, said: Said) -> None:
        self._supervisor.send(_encode(said))

    def _become_child(self, setup: Setup, fds: list[int]) -> None:
        code = 1
        try:
            linux.die_with(self._pid)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            for end in (self._supervisor, self._wake, self._waker):
                end.close()
            from treadle_agent.pools.entry import run  # noqa: PLC0415 - preloaded above

            code = run(setup, *fds)
        finally:
            # Nothing of the forkserver's may run in a child: no atexit hook, no finally above us.
            os._exit(code)


if __name__ == "__main__":
    main()
