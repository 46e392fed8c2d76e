"""The supervisor's end of a child's socketpair: frames in and out, without waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from treadle_agent.errors import BrokenFrame
from treadle_agent.frames import FromChild, Splitter, ToChild, pack, read_from_child


class Wire:
    """Sends and receives frames. When that is over, `on_closed` is called once, or `on_broken` for what is no frame."""

    def __init__(
        self,
        end: socket.socket,
        on_frame: Callable[[FromChild], None],
        on_closed: Callable[[], None],
        on_broken: Callable[[str], None],
    ) -> None:
        end.setblocking(False)
        self._socket = end
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._on_broken = on_broken
        self._splitter = Splitter()
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(end.fileno(), self.read)

    def send(self, frame: ToChild) -> None:
        """Send a frame, at once or as soon as the child reads."""
        if not self._open:
            return
        if not self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._write)
        self._unsent += pack(frame)
        self._write()

    def read(self) -> None:
        """Take everything that is here; after a child's death also what it said last."""
        while self._open:
            try:
                data = self._socket.recv(256 * 1024)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                self._on_closed()
                return
            try:
                for body in self._splitter.feed(data):
                    self._on_frame(read_from_child(body))
            except BrokenFrame as exc:
                self.close()
                self._on_broken(exc.message)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
            self.read()  # what it said before it went is still here
            if self._open:
                self.close()
                self._on_closed()
            return
        self._loop.remove_writer(self._socket.fileno())
