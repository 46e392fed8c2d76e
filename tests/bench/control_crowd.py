"""The process that is full of agents (control_agents), as the benchmarks hold it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]


class Agents:
    """The process that is full of agents."""

    def __init__(self, send: IO[str], receive: IO[str]) -> None:
        self._send = send
        self._receive = receive

    def tell(self, **order: Any) -> dict[str, Any]:
        """Have it do something (see control_agents); returns its answer. Raises AssertionError if it can't be done."""
        self._send.write(json.dumps(order) + "\n")
        self._send.flush()
        answer: dict[str, Any] = json.loads(self._receive.readline())
        if "error" in answer:
            raise AssertionError(answer)
        return answer


@contextlib.contextmanager
def agents() -> Iterator[Agents]:
    """Run the process that is full of agents."""
    command = [sys.executable, "-m", "tests.bench.control_agents"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        if child.stdin is None or child.stdout is None:
            raise AssertionError("no pipes")
        try:
            yield Agents(child.stdin, child.stdout)
        finally:
            child.kill()


def environment() -> dict[str, str]:
    """Return an environment in which processes find our packages."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'controller'}:{ROOT / 'agent'}"}
