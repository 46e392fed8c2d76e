"""A child's end of the socketpair. The supervisor's death, or anything that is no frame, ends the process at once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Final

from treadle_agent.errors import BrokenFrame
from treadle_agent.frames import FromChild, Splitter, ToChild, pack, read_to_child

EXIT_ORPHANED: Final = 3  # the supervisor is gone
EXIT_BROKEN: Final = 4  # it said something that is no frame


class Channel:
    """Frames to and from the supervisor. `send` may be called from any thread.

    A thread of its own listens, so that a loop that blocks its thread or its event loop can still be told to stop.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lock = threading.Lock()
        # A copy of this process, made by user code, must not speak for it.
        os.register_at_fork(after_in_child=self._socket.close)

    def listen(self, on_frame: Callable[[ToChild], None]) -> None:
        """Call `on_frame` for each frame, in the listening thread."""
        threading.Thread(target=self._listen, args=(on_frame,), name="treadle channel", daemon=True).start()

    def send(self, frame: FromChild) -> None:
        """Send a frame."""
        data = pack(frame)
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            os._exit(EXIT_ORPHANED)

    def _listen(self, on_frame: Callable[[ToChild], None]) -> None:
        splitter = Splitter()
        while True:
            try:
                data = self._socket.recv(256 * 1024)
            except OSError:
                data = b""
            if not data:
                os._exit(EXIT_ORPHANED)
            try:
                for body in splitter.feed(data):
                    on_frame(read_to_child(body))
            except BrokenFrame:
                os._exit(EXIT_BROKEN)
