"""One child process, as the supervisor holds it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from treadle_agent.frames import FromChild, ToChild, Why
from treadle_agent.page import Page, Seen
from treadle_agent.setup import Role, Setup
from treadle_agent.supervisor.faults import Faults, Stack
from treadle_agent.supervisor.output import Output
from treadle_agent.supervisor.spawner import Spawner
from treadle_agent.supervisor.wire import Wire

CLOSED_S: Final = 0.5  # a child that closed its channel has this long to be dead
PAGE_SLOTS: Final = {"catalog": 1, "process": 1, "thread": 1 << 12, "asyncio": 1 << 15}


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom a child's news go to."""

    on_frame: Callable[[Child, FromChild], None]
    on_line: Callable[[Child, str], None]
    on_exit: Callable[[Child, int], None]


class Child:
    """A child: frames to and from it, what it prints, its page, and its end.

    Frames sent before the process exists wait in the socket: a loop process finds its assignment at birth.
    """

    def __init__(self, setup: Setup, listener: Listener) -> None:
        ours, self._theirs = socket.socketpair()
        read_end, self._output_end = os.pipe()
        self.setup = setup
        self.page = Page.create(setup.marker, PAGE_SLOTS[setup.role])
        self.faults = Faults()
        self.doom: Why | None = None  # why we killed it
        self.culprit = 0  # the run that made us
        self.innocent = False  # it has to go, and none of its loops is to blame
        self.retired = False  # it has a successor, and goes when its last loop is over
        self.since = time.monotonic()
        self.pid = 0
        self.ready = False
        self.ended = False
        self.broken = ""
        self._listener = listener
        self._wire = Wire(ours, lambda frame: listener.on_frame(self, frame), self._closed, self._break)
        self._output = Output(read_end, lambda line: listener.on_line(self, line))

    @property
    def role(self) -> Role:
        return self.setup.role

    @property
    def marker(self) -> str:
        return self.setup.marker

    async def start(self, spawner: Spawner) -> None:
        """Have the process made. Raises SpawnFailed."""
        try:
            fds = [self._theirs.fileno(), self.page.fd, self.faults.fd, self._output_end]
            self.pid = await spawner.spawn(self.setup, fds)
        finally:
            self._theirs.close()
            os.close(self._output_end)
        if self.broken:
            self.kill()

    def send(self, frame: ToChild) -> None:
        self._wire.send(frame)

    def seen(self, slot: int) -> Seen:
        """Return what a slot of its page says."""
        return self.page.read(slot)

    def last_stack(self) -> Stack | None:
        """Return the stack that it wrote last, as it crashed or was asked."""
        return self.faults.last()

    def kill(self) -> None:
        """Kill the process and its group; `on_exit` follows."""
        if self.pid and not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def end(self, code: int) -> None:
        """Take in that the process is gone, after what it said last."""
        if self.ended:
            return
        self.ended = True
        self._wire.read()
        self._wire.close()
        self._output.drain()
        self._output.close()
        self._listener.on_exit(self, code)
        self.page.close()
        self.faults.close()

    def _closed(self) -> None:
        # Usually it is dead, and its end is told in a moment; if not, it closed what was not its to close.
        asyncio.get_running_loop().call_later(CLOSED_S, self._still_there)

    def _still_there(self) -> None:
        if not self.ended:
            self._break("it closed its channel")

    def _break(self, reason: str) -> None:
        # Never resynchronised: whatever it meant to say, its successor says it better.
        self.broken = self.broken or reason
        self.kill()
