"""One daemon as a process of ours: started so that it cannot outlive us, stopped so that it can finish its work."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> None:
    # Between fork and exec. Whoever kills us with -9 leaves us no time to stop the daemons; the kernel does it then.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class Daemon:
    """A Python module as a daemon: its own session, its log in a file, its end bound to ours.

    `start()` has to be called from the main thread: the kernel ends a child with the thread that made it.
    """

    def __init__(self, name: str, module: str, args: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.starts: list[float] = []  # monotonic
        # -P: the current folder must not hide modules, as it does not for the installed scripts.
        self._command = [sys.executable, "-P", "-m", module, *args]
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with, None while it runs or before the first start."""
        return None if self._process is None else self._process.poll()

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; returns at once."""
        parent = os.getpid()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = self._launch(log, parent)
        self.starts.append(time.monotonic())

    def terminate(self) -> None:
        """Ask it to finish its work and stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def log_end(self, lines: int = 15) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _launch(self, log: IO[bytes], parent: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who stop all in order
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - nothing here takes a lock, and no thread of ours forks
        )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
