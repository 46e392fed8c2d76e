"""Loop process: one process for one loop, which has the main thread to itself."""

from __future__ import annotations

import queue

from treadle_agent.page import Page
from treadle_agent.pools.channel import Channel
from treadle_agent.pools.host import PoolHost
from treadle_agent.pools.loop_run import LoopRun
from treadle_agent.pools.threaded_life import live
from treadle_agent.pools.threaded_queues import ThreadedQueues
from treadle_agent.setup import Setup


def run(setup: Setup, channel: Channel, shared: Page) -> int:
    """Run the one loop that this process is assigned, and end with it."""
    host = LoopProcess(setup, channel, shared)
    host.open_for_work()
    only = host.assigned.get()
    queues = ThreadedQueues(setup.redis, host.name)
    host.finish(only, live(only, queues, host))
    return 0


class LoopProcess(PoolHost):
    """Hands its loop to the main thread, where user code may expect to be."""

    def __init__(self, setup: Setup, channel: Channel, shared: Page) -> None:
        super().__init__(setup, channel, shared)
        self.assigned: queue.SimpleQueue[LoopRun] = queue.SimpleQueue()

    def attach(self, namespace: str, redis_id: str) -> None:
        """Do nothing: it connects for its loop."""

    def begin(self, run: LoopRun) -> None:
        run.own_process = True
        self.assigned.put(run)
