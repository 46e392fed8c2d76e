"""Asyncio host: one process with one event loop (uvloop), a task per loop."""

from __future__ import annotations

import asyncio

import uvloop

from treadle.errors import QueueError
from treadle.queues.redis_host import RedisHost
from treadle_agent.frames import Ended
from treadle_agent.page import Page
from treadle_agent.pools.channel import Channel
from treadle_agent.pools.host import PoolHost
from treadle_agent.pools.loop_run import LoopRun, ended, ended_by
from treadle_agent.setup import Setup


def run(setup: Setup, channel: Channel, shared: Page) -> int:
    """Serve until the supervisor is gone or kills this process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(setup, channel, shared))
    return 0


async def _serve(setup: Setup, channel: Channel, shared: Page) -> None:
    AsyncioHost(setup, channel, shared).open_for_work()
    await asyncio.Event().wait()


class AsyncioHost(PoolHost):
    """Starts a task for each loop. What the channel's thread hears is handed to the event loop."""

    def __init__(self, setup: Setup, channel: Channel, shared: Page) -> None:
        super().__init__(setup, channel, shared)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queues: dict[tuple[str, str], RedisHost] = {}
        self._gates: dict[tuple[str, str], asyncio.Lock] = {}

    def attach(self, namespace: str, redis_id: str) -> None:
        self._loop.call_soon_threadsafe(self._spawn_attach, namespace, redis_id)

    def begin(self, run: LoopRun) -> None:
        self._loop.call_soon_threadsafe(self._spawn_loop, run)

    def _spawn_attach(self, namespace: str, redis_id: str) -> None:
        self._keep(self._loop.create_task(self._attach(namespace, redis_id), name="attach"))

    def _spawn_loop(self, run: LoopRun) -> None:
        self._keep(self._loop.create_task(self._run(run), name=f"loop {run.assign.address}"))

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
        self.finish(run, await self._live(run))

    async def _live(self, run: LoopRun) -> Ended:
        try:
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
