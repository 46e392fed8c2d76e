"""Who plays: the loops, the processes that run them now, and those that believe that they still do."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.chaos.queues.flow import Report
from treadle.queues.tenure import LoopKey


class Process:
    """A worker process; it leaves a report when it ends by itself."""

    def __init__(self, pid: int, report: Path) -> None:
        self.pid = pid
        # The nursery reaps it, so its number may soon be somebody else's: signals go to the process, not to the number.
        self._fd = os.pidfd_open(pid)
        self._path = report
        self.dead = False

    def report(self) -> Report | None:
        """Return how it ended, None while it has not."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Report)
        except FileNotFoundError:
            return None

    def kill(self) -> None:
        """Kill it where it is."""
        self.dead = True
        self._signal(signal.SIGKILL)

    def forget(self) -> None:
        """Kill it if it still lives, and let go of it."""
        self.kill()
        os.close(self._fd)

    def pause(self) -> None:
        """Stop it where it is."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def state(self) -> str:
        """Return what the kernel says that it does: S sleeps, T is stopped, R runs."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "gone"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)


@dataclass(slots=True)
class Actor:
    """A loop and the process that runs it."""

    role: str
    key: LoopKey
    epoch: int
    process: Process
    born_at: int  # the loop's last sequence number when the process was started
    completed: bool = False


@dataclass(slots=True)
class Zombie:
    """A process that was taken over. Paused ones go on once their successor has committed more than `wakes_at`."""

    process: Process
    key: LoopKey
    paused: bool
    wakes_at: int
    wakes_by: float  # monotonic time at which it goes on anyway
    code: str | None = None  # why it ended
