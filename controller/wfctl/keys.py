"""Keys that are pressed on a terminal, one by one and without waiting for the end of a line."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any, Final, Self

_KEY: Final = re.compile(r"\x1b\[.|.", re.DOTALL)


class Keys:
    """Reads keys for the length of a block; the terminal is as before afterwards. Without a terminal there are none."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._before: list[Any] = []
        self._pressed: list[str] = []

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._fd = fd = sys.stdin.fileno()
            self._before = termios.tcgetattr(fd)
            tty.setcbreak(fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def wait(self, timeout_s: float) -> str:
        """Return the key that is pressed within the time, arrows as their sequences; "" when none is."""
        if self._fd is None:
            select.select([], [], [], timeout_s)
            return ""
        if not self._pressed:
            ready, _, _ = select.select([self._fd], [], [], timeout_s)
            if ready:
                self._pressed += _KEY.findall(os.read(self._fd, 64).decode(errors="replace"))
        return self._pressed.pop(0) if self._pressed else ""
