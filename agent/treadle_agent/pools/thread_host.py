"""Thread host: one process, a thread per loop."""

from __future__ import annotations

import threading
from typing import Final

from treadle_agent.page import Page
from treadle_agent.pools.channel import Channel
from treadle_agent.pools.host import PoolHost
from treadle_agent.pools.loop_run import LoopRun
from treadle_agent.pools.threaded_life import live
from treadle_agent.pools.threaded_queues import ThreadedQueues
from treadle_agent.setup import Setup

_STARTED: Final = threading.Event()
_STARTED.set()


class LoopThread(threading.Thread):
    """Runs a loop. There may be thousands, so it drops what only its start needs."""

    def start(self) -> None:
        """Start the thread, and return once it runs."""
        super().start()
        # The event by which it said so takes 1.3 KiB, and all that anybody asks of it from now on is whether it is set.
        self._started = _STARTED


def run(setup: Setup, channel: Channel, shared: Page) -> int:
    """Serve until the supervisor is gone or kills this process."""
    host = ThreadHost(setup, channel, shared)
    host.capture_prints()
    host.open_for_work()
    threading.Event().wait()
    return 0


class ThreadHost(PoolHost):
    """Starts a thread for each loop."""

    def __init__(self, setup: Setup, channel: Channel, shared: Page) -> None:
        super().__init__(setup, channel, shared)
        self._queues = ThreadedQueues(setup.redis, self.name)

    def attach(self, namespace: str, redis_id: str) -> None:
        self._queues.attach(namespace, redis_id)

    def begin(self, run: LoopRun) -> None:
        name = f"loop {run.assign.address}"
        LoopThread(target=self._live, args=(run,), name=name, daemon=True).start()

    def _live(self, run: LoopRun) -> None:
        self.finish(run, live(run, self._queues, self))
