"""What code of nodes prints in a shared host: lines of the loop that printed them, not of the host."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, TextIO

MAX_LINE: Final = 8 * 1024

# The run of the thread or task that is executing; 0 is the host itself. Tasks that nodes start inherit it.
current_run: ContextVar[int] = ContextVar("treadle_run", default=0)


class Prints(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr. `keep(run, line)` gets whole lines; what is no loop's passes through."""

    def __init__(self, beyond: TextIO, run_of_thread: Callable[[str], int], keep: Callable[[int, str], None]) -> None:
        super().__init__()
        self._beyond = beyond
        self._run_of_thread = run_of_thread
        self._keep = keep
        self._rests: dict[int, str] = {}
        self._lock = threading.Lock()

    def write(self, text: str, /) -> int:
        run = current_run.get() or self._run_of_thread(threading.current_thread().name)
        if not run:
            return self._beyond.write(text)
        with self._lock:
            *lines, rest = (self._rests.pop(run, "") + text).split("\n")
            if len(rest) > MAX_LINE:
                lines, rest = [*lines, rest], ""
            if rest:
                self._rests[run] = rest
        for line in lines:
            self._keep(run, line)
        return len(text)

    def forget(self, run: int) -> None:
        """Take what a run that is over printed without an end of line for a line."""
        with self._lock:
            rest = self._rests.pop(run, "")
        if rest:
            self._keep(run, rest)

    def flush(self) -> None:
        self._beyond.flush()

    def fileno(self) -> int:
        return self._beyond.fileno()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._beyond.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._beyond.errors
