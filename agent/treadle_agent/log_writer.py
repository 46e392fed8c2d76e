"""Writes the agent's log beside everything else: whoever reads standard error too slowly must not stop the supervisor.

Nodes decide how much is printed, and somebody else how fast it is read. What doesn't fit is counted and dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from typing import Final

MAX_BYTES: Final = 1 << 20  # that wait to be written
FLUSH_S: Final = 1.0  # for what waits when the agent ends


class LogWriter(logging.Handler):
    """A logging handler with a thread of its own that writes to a file descriptor, which stays open."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes that wait or are being written
        self._dropped = 0
        self._changed = threading.Condition()
        # Not through sys.stderr: its lock, held by a thread that is stuck, would end the interpreter with an abort.
        threading.Thread(target=self._run, name="treadle log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - arguments that don't fit a format raise what they like
            self.handleError(record)
            return
        with self._changed:
            if self._size + len(line) > MAX_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, but not for ever; logging does so at the end of the process."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, FLUSH_S)

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="replace")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                taken, dropped = b"".join(self._lines), self._dropped
                self._lines.clear()
                self._dropped = 0
            self._write(taken)
            if dropped:
                self._write(self._line(_of_dropped(dropped)))
            with self._changed:
                self._size -= len(taken)
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        try:
            while data:
                select.select((), (self._fd,), ())  # who shares it may have made it one that does not block
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self._fd, data) :]
        except OSError:  # nobody reads it any more, and there is nobody else to tell
            return


def _of_dropped(count: int) -> logging.LogRecord:
    message = "%d lines of this log were dropped: it is read too slowly"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (count,), None)
