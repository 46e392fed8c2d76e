"""Asyncio host: one process with one event loop (uvloop), a task per loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from typing import Final

import uvloop

from treadle.errors import QueueError
from treadle.queues.redis_host import RedisHost
from treadle.queues.redis_thread import SWITCH_INTERVAL_S
from treadle.queues.tenure import LoopKey
from treadle_agent.frames import Address, Ended, Trouble, Why
from treadle_agent.page import Page
from treadle_agent.pools import stacks
from treadle_agent.pools.channel import Channel
from treadle_agent.pools.host import PoolHost
from treadle_agent.pools.lines import text_of
from treadle_agent.pools.loop_run import LoopRun, ended, ended_by
from treadle_agent.pools.prints import current_run
from treadle_agent.pools.stacks import Sight
from treadle_agent.pools.watchdog import SNIPPET
from treadle_agent.setup import Setup

BEAT_S: Final = 0.1
LAG_NS: Final = 500_000_000  # a turn of the event loop that takes longer is told
STALL_NS: Final = 5_000_000_000  # and this one is the end of this host


def run(setup: Setup, channel: Channel, shared: Page) -> int:
    """Serve until the supervisor is gone or kills this process."""
    # With the default of 5 ms the threads beside, the reporter above all, hold up every loop for that long.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(setup, channel, shared))
    return 0


async def _serve(setup: Setup, channel: Channel, shared: Page) -> None:
    host = AsyncioHost(setup, channel, shared)
    host.capture_prints()
    host.open_for_work()
    await asyncio.Event().wait()


class AsyncioHost(PoolHost):
    """Starts a task for each loop. What the channel's thread hears is handed to the event loop."""

    def __init__(self, setup: Setup, channel: Channel, shared: Page) -> None:
        super().__init__(setup, channel, shared)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queues: dict[tuple[str, str], RedisHost] = {}
        self._gates: dict[tuple[str, str], asyncio.Lock] = {}
        self._main = threading.get_ident()
        self._pace = HeldLoop(self)
        self._beat()

    def attach(self, namespace: str, redis_id: str) -> None:
        self._loop.call_soon_threadsafe(self._spawn_attach, namespace, redis_id)

    def begin(self, run: LoopRun) -> None:
        self._loop.call_soon_threadsafe(self._spawn_loop, run)

    def _spawn_attach(self, namespace: str, redis_id: str) -> None:
        self._keep(self._loop.create_task(self._attach(namespace, redis_id), name="attach"))

    def _spawn_loop(self, run: LoopRun) -> None:
        run.task = self._loop.create_task(self._run(run), name=f"loop {run.assign.address}")
        self._keep(run.task)

    def _beat(self) -> None:
        """Leave a sign that the event loop turns."""
        self.page.beat(time.monotonic_ns())
        self._loop.call_later(BEAT_S, self._beat)

    def look_around(self, now_ns: int) -> None:
        self._pace.look(now_ns, self.page.signs()[1])

    def sight(self, run: LoopRun) -> Sight:
        if run.importing or run.task is None:
            return stacks.of_thread(run.thread)
        if asyncio.current_task(self._loop) is run.task:
            return stacks.of_thread(self._main)
        suspended = stacks.of_task(run.task)
        if suspended.node is not None:
            return suspended
        working = (each for each in stacks.of_named(f"treadle worker {run.assign.address.key}") if each.node)
        return next(working, suspended)

    def culprit(self) -> tuple[LoopRun | None, Sight]:
        """Return the run that has the event loop now, and what it is doing."""
        task = asyncio.current_task(self._loop)
        sight = stacks.of_thread(self._main)
        run = next((each for each in self.runs.values() if each.task is task and task is not None), None)
        if run is None and (node := sight.node) is not None:
            context = node.context
            address = Address(context.namespace, LoopKey(context.workflow, context.loop, context.replica))
            run = next((each for each in self.runs.values() if each.assign.address == address), None)
        return run, sight

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attach(self, namespace: str, redis_id: str) -> None:
        try:
            await self._of(namespace, redis_id)
        except QueueError:
            return  # the first loop that needs it finds out again

    async def _of(self, namespace: str, redis_id: str) -> RedisHost:
        key = (namespace, redis_id)
        async with self._gates.setdefault(key, asyncio.Lock()):
            known = self._queues.get(key)
            if known is not None and known.wrong is not None:
                await known.stop()  # by now the right Redis may be there
                known = None
            if known is None:
                host = RedisHost(self.setup.redis, namespace, self.name, expected_id=redis_id or None)
                await host.start()
                self._queues[key] = host
            return self._queues[key]

    async def _run(self, run: LoopRun) -> None:
        current_run.set(run.number)
        self.finish(run, await self._live(run))

    async def _live(self, run: LoopRun) -> Ended:
        try:
            if run.quick:
                run.prepare()
            else:
                await asyncio.to_thread(run.prepare)  # imports user code, which may take its time
            if run.leaving:
                return Ended(run.number, "drained")
            namespace = await self._of(run.assign.address.namespace, run.assign.redis_id)
            tenure = await namespace.open(run.spec)
            try:
                manager = run.manage(tenure, self.began)
                return ended(run, await manager.run_async())
            finally:
                await namespace.close(tenure)
        except BaseException as exc:  # noqa: BLE001 - user code may raise anything, SystemExit included
            return ended_by(run, exc)


class HeldLoop:
    """Notices that the event loop does not turn, and who holds it; for the host's watchdog."""

    def __init__(self, host: AsyncioHost) -> None:
        self._host = host
        self._told = 0  # the last beat before a delay that was told
        self._stalled = False

    def look(self, now_ns: int, beat_ns: int) -> None:
        """Look at the last sign of the event loop."""
        age = now_ns - beat_ns
        if age > STALL_NS and not self._stalled:
            self._stalled = True
            self._stall(age)
        elif age > LAG_NS and beat_ns != self._told:
            self._told = beat_ns
            self._tell(age)

    def _stall(self, age_ns: int) -> None:
        run, sight = self._host.culprit()
        node = sight.node
        message = f"it has held the event loop of its host for {age_ns / 1e9:.1f} s"
        why = Why("host-stalled", message, node.context.node if node else "", text_of(sight.text, SNIPPET, end=True))
        self._host.channel.send(Trouble(0 if run is None else run.number, why))

    def _tell(self, age_ns: int) -> None:
        _, sight = self._host.culprit()
        if (node := sight.node) is not None:
            message = "holds the event loop of its host for %.1f s: write a `def` node, or await\n%s"
            node.context.logger.warning(message, age_ns / 1e9, sight.text)
        else:
            _log.warning("the event loop was held for %.1f s\n%s", age_ns / 1e9, sight.text)


_log = logging.getLogger(__name__)
