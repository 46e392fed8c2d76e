"""What a child and everything that it started print: lines, not lost and not trusted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from treadle.redaction import redacted

MAX_LINE: Final = 8 * 1024  # bytes; longer ones are cut into pieces
LINES_A_SECOND: Final = 1_000  # more are counted and dropped: who reads them?


class Output:
    """Reads the pipe that is a child's standard output and error, and hands on each line."""

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._on_line = on_line
        self._rest = b""
        self._second = 0
        self._said = self._dropped = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self.read)

    def drain(self) -> None:
        """Take what a dead child had printed, as far as the pipe holds it."""
        for _ in range(32):
            if not self.read():
                return

    def read(self) -> bool:
        """Take what is here, and say whether there was anything; a flood leaves the other children their turn."""
        if self._fd is None:
            return False
        try:
            data = os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._say(line)
        return True

    def close(self) -> None:
        """Stop reading; what was printed without an end of line is a line."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
            if self._rest:
                self._say(self._rest)
            self._tell_dropped()

    def _say(self, line: bytes) -> None:
        second = int(self._loop.time())
        if second != self._second:
            self._tell_dropped()
            self._second, self._said = second, 0
        for start in range(0, len(line), MAX_LINE):
            self._said += 1
            if self._said > LINES_A_SECOND:
                self._dropped += 1
            else:
                self._on_line(redacted(line[start : start + MAX_LINE].decode(errors="replace").rstrip("\r")))

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._on_line(f"... {dropped} lines were dropped: more than {LINES_A_SECOND} a second are printed")
