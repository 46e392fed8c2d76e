"""A real agent process, and what is left of it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "TREADLE_TEST_AGENT"


class AgentProcess:
    """`python -m treadle_agent` with its own mark in the environment of all its processes."""

    def __init__(self, controller: str, redis_url: str, log: Path, *arguments: str, **environ: str) -> None:
        self.mark = secrets.token_hex(8)
        self.log = log
        env = {
            **os.environ,
            MARK: self.mark,
            "TREADLE_AGENT_REDIS": redis_url,
            "TREADLE_AGENT_CONTROLLERS": controller,
            "TREADLE_AGENT_NAME": "tested",
            **environ,
        }
        with log.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, "-m", "treadle_agent", *arguments], env=env, stderr=out)

    @property
    def pid(self) -> int:
        return self.process.pid

    def processes(self) -> set[int]:
        """Return every process that lives and has our mark, the supervisor included."""
        found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {pid for pid in found if self._is_ours(pid)}

    def _is_ours(self, pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
            return state != b"Z" and f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except (OSError, IndexError):
            return False

    def terminate(self, timeout_s: float = 30.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def gone(self, timeout_s: float = 10.0) -> bool:
        """Wait until no process is left; return whether that came true."""
        deadline = time.monotonic() + timeout_s
        while self.processes():
            if time.monotonic() > deadline:
                return False
            os.sched_yield()
        return True

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
