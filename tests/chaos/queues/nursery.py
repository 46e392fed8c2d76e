"""Forks worker processes from one that has imported everything: a takeover costs milliseconds, not half a second.

As a program it reads an order a line and answers with the pid; when its input ends it kills what still lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.chaos.queues.flow import Order
from tests.chaos.queues.patches import Patch, install

ROOT = Path(__file__).parents[3]


class Nursery:
    """The side that asks. `live` is "module:function", called with an Order in each child."""

    def __init__(
        self, folder: Path, patches: Sequence[Patch] = (), live: str = "tests.chaos.queues.worker:live"
    ) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self._log = (folder / "workers.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.queues.nursery", live, msgspec.json.encode(patches).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=ROOT,
        )

    def bear(self, order: Order) -> int:
        """Start a worker; return its pid."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, f"the nursery died: {Path(self._log.name).read_text(errors='replace')[-2000:]}"
        return int(answer)

    def close(self) -> None:
        """End it and all that it started."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()
        self._log.close()


def main() -> None:
    """Serve."""
    where, patches = sys.argv[1], msgspec.json.decode(sys.argv[2], type=list[Patch])
    install(patches)
    module, _, function = where.partition(":")
    live = getattr(__import__(module, fromlist=[function]), function)
    children: set[int] = set()
    for line in sys.stdin.buffer:
        while children and (dead := os.waitpid(-1, os.WNOHANG)[0]):
            children.discard(dead)
        child = os.fork()
        if child == 0:
            _be(live, msgspec.json.decode(line, type=Order))
        children.add(child)
        sys.stdout.buffer.write(b"%d\n" % child)
        sys.stdout.buffer.flush()
    for child in children:
        os.kill(child, signal.SIGKILL)


def _be(live: Callable[[Order], None], order: Order) -> None:
    # Neither the orders nor the answers are this process's to touch.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        live(order)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
