"""The queue systems that the suite runs on: in memory, and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import decode, decode_item, encode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.redis_host import RedisHost
from treadle.queues.tenure import LoopKey, Tenure, TenureSpec
from treadle.workflow.plan import Plan, QueueLimits


def spec_of(plan: Plan, epoch: int, stateful: tuple[str, ...], never_ends: tuple[str, ...]) -> TenureSpec:
    """Return what a loop needs of the queues."""
    return TenureSpec(
        LoopKey(plan.workflow, plan.loop),
        epoch,
        reads=plan.reads,
        writes={name: QueueLimits() for name in plan.writes},
        stateful=stateful,
        never_ends=never_ends,
        max_in_flight=plan.max_in_flight,
        max_in_flight_bytes=plan.max_in_flight_bytes,
    )


class Backend(Protocol):
    """A queue system, seen from outside of all loops."""

    url: str  # "" in memory: no other process can use it
    namespace: str

    def assign(self, spec: TenureSpec) -> None:
        """Do what the controller does before a loop may open."""

    def open(self, spec: TenureSpec) -> Tenure:
        """Open a loop that will run in a thread."""
        ...

    async def open_async(self, spec: TenureSpec) -> Tenure:
        """Open a loop that will run as a task of the running event loop."""
        ...

    async def close_async(self, tenure: Tenure) -> None:
        """Close it."""

    def close(self, tenure: Tenure) -> None:
        """Close a loop."""

    def enter(self, writers: Mapping[str, Iterable[LoopKey]]) -> None:
        """Enter the writers of a revision."""

    def push(self, queue: str, payloads: Iterable[Mapping[str, Any]], headers: Mapping[str, Any] | None = None) -> None:
        """Push from outside."""

    def contents(self, queue: str) -> list[tuple[dict[str, Any], Any]]:
        """Return what waits in a queue: payloads and headers."""
        ...

    def dead(self, queue: str) -> list[tuple[Any, Any]]:
        """Return the dead letters of a queue: payloads and reasons."""
        ...

    def stop(self) -> None:
        """End it."""


class MemoryBackend:
    """Queues in memory."""

    url = ""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.host = MemoryHost(namespace)

    def assign(self, spec: TenureSpec) -> None:
        self.enter({queue: [spec.key] for queue in spec.writes if not self._completed(spec.key)})

    def open(self, spec: TenureSpec) -> Tenure:
        return self.host.incarnate(spec)

    async def open_async(self, spec: TenureSpec) -> Tenure:
        return await self.host.open(spec)

    async def close_async(self, tenure: Tenure) -> None:
        await self.host.close(tenure)

    def close(self, tenure: Tenure) -> None:
        self.host.forget(tenure)

    def enter(self, writers: Mapping[str, Iterable[LoopKey]]) -> None:
        self.host.enter_writers(writers)

    def push(self, queue: str, payloads: Iterable[Mapping[str, Any]], headers: Mapping[str, Any] | None = None) -> None:
        self.host.push(queue, [encode_item(payload, headers) for payload in payloads])

    def contents(self, queue: str) -> list[tuple[dict[str, Any], Any]]:
        items: list[Any] = [decode_item(item) for item in self.host.peek(queue)]
        return [(payload, headers) for payload, headers in items]

    def dead(self, queue: str) -> list[tuple[Any, Any]]:
        return [(decode(letter.item)[0], dict(letter.reason)) for letter in self.host.queue(queue).dead]

    def stop(self) -> None:
        asyncio.run(self.host.stop())

    def _completed(self, key: LoopKey) -> bool:
        record = self.host.loops.get(key)
        return record is not None and record.completed


class RedisBackend:
    """A namespace of its own on a real server."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self._stack = ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())
        self._admin = QueueAdmin(url, namespace)
        self._entered: set[tuple[str, LoopKey]] = set()
        self._stopped = False
        self._threads = self._runner.run(self._prepare())
        self._hosts: dict[int, RedisHost] = {}
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}

    async def _prepare(self) -> Any:
        await self._admin.load_functions()
        return await asyncio.to_thread(RedisHost.in_thread, self.url, self.namespace, "suite")

    def assign(self, spec: TenureSpec) -> None:
        # As the controller does: once per revision, so that a loop which completed stays so.
        self.enter({queue: [spec.key] for queue in spec.writes if (queue, spec.key) not in self._entered})
        self._runner.run(self._admin.assign([(spec.key, spec.epoch)], 1))

    def open(self, spec: TenureSpec) -> Tenure:
        tenure: Tenure = self._threads.open(spec)
        return tenure

    async def open_async(self, spec: TenureSpec) -> Tenure:
        loop = asyncio.get_running_loop()
        host = self._hosts.get(id(loop))
        if host is None:
            host = self._hosts[id(loop)] = RedisHost(self.url, self.namespace, "suite-tasks")
            self._loops[id(loop)] = loop
            await host.start()
        return await host.open(spec)

    async def close_async(self, tenure: Tenure) -> None:
        await self._hosts[id(asyncio.get_running_loop())].close(tenure)

    def close(self, tenure: Tenure) -> None:
        self._threads.close(tenure)

    def enter(self, writers: Mapping[str, Iterable[LoopKey]]) -> None:
        entering = {queue: list(keys) for queue, keys in writers.items()}
        self._entered |= {(queue, key) for queue, keys in entering.items() for key in keys}
        self._runner.run(self._admin.enter_writers(entering))

    def push(self, queue: str, payloads: Iterable[Mapping[str, Any]], headers: Mapping[str, Any] | None = None) -> None:
        self._runner.run(self._admin.push(queue, [encode_item(payload, headers) for payload in payloads]))

    def contents(self, queue: str) -> list[tuple[dict[str, Any], Any]]:
        peeked = self._runner.run(self._admin.peek(queue, 100_000))
        return [(each.item[0], each.item[1]) for each in peeked]

    def dead(self, queue: str) -> list[tuple[Any, Any]]:
        letters = self._runner.run(self._admin.dead_letters(queue))
        return [(decode(letter.item)[0], letter.reason) for letter in letters]

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        for at, host in self._hosts.items():
            asyncio.run_coroutine_threadsafe(host.stop(), self._loops[at]).result()
        self._threads.stop()
        self._runner.run(self._admin.close())
        self._stack.close()
