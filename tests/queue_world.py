"""A namespace on a real server, and loops in it that a test plays by hand."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import encode_item
from treadle.queues.redis_host import RedisHost
from treadle.queues.tenure import Batch, LoopKey, Tenure, TenureSpec
from treadle.workflow.plan import QueueLimits

if TYPE_CHECKING:
    from treadle.queues.redis_thread import ThreadedRedisHost

T = TypeVar("T")
UNBOUNDED = QueueLimits(None, None)
PATIENCE_S = 20.0
_numbers = itertools.count(1)


def item(n: int) -> bytes:
    """Return the n-th message."""
    return encode_item({"n": n})


class World:
    """A namespace of its own. `host_url` may lead through a proxy; the admin always goes straight."""

    def __init__(self, url: str, host_url: str | None = None) -> None:
        self.url = url
        self.namespace = f"test-{next(_numbers)}"
        self._host_url = host_url or url
        self._hosts: list[ThreadedRedisHost] = []
        self.do(lambda admin: admin.load_functions())
        self.id = self.do(lambda admin: admin.namespace_id())

    def do(self, call: Callable[[QueueAdmin], Awaitable[T]]) -> T:
        """Do something as the controller does."""

        async def run() -> T:
            async with QueueAdmin(self.url, self.namespace) as admin:
                return await call(admin)

        return asyncio.run(run())

    def command(self, *args: object) -> object:
        """Send a command; keys are written `q:x` and get the namespace's prefix from `key`."""
        return self.do(lambda admin: admin.command(*args))

    def key(self, rest: str) -> str:
        """Return a key of this namespace."""
        return f"{{{self.namespace}}}:{rest}"

    def assign(self, *keys: LoopKey, epoch: int = 1) -> None:
        """Give loops an epoch."""
        assert self.do(lambda admin: admin.assign([(key, epoch) for key in keys], 1)) == {}

    def host(self, url: str | None = None) -> ThreadedRedisHost:
        """Start a host."""
        host = RedisHost.in_thread(url or self._host_url, self.namespace, "host", expected_id=self.id)
        self._hosts.append(host)
        return host

    def stop(self) -> None:
        """Stop all hosts."""
        for host in self._hosts:
            host.stop()


def loop(name: str, replica: int = 0) -> LoopKey:
    """Return the key of a loop."""
    return LoopKey("flow", name, replica)


def spec(
    key: LoopKey,
    epoch: int = 1,
    *,
    reads: Sequence[str] = (),
    writes: Iterable[str] = (),
    limits: QueueLimits = UNBOUNDED,
    stateful: Sequence[str] = (),
) -> TenureSpec:
    """Return what a loop needs of the queues."""
    return TenureSpec(key, epoch, tuple(reads), dict.fromkeys(writes, limits), tuple(stateful))


def until(tenure: Tenure, true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait on a tenure until something is true. Raises what the tenure was lost to."""
    deadline = time.monotonic() + patience_s
    while not true():
        if tenure.lost is not None:
            tenure.lost.add_note(str(tenure.lost.details))
            raise tenure.lost
        left = deadline - time.monotonic()
        assert left > 0, f"waited {patience_s} s for nothing"
        tenure.wait(min(left, 0.5))


def eventually(true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Look at something outside every tenure until it is true."""
    deadline = time.monotonic() + patience_s
    pause = time.sleep
    while not true():
        assert time.monotonic() < deadline, f"waited {patience_s} s for nothing"
        pause(0.005)


def polled(tenure: Tenure, queue: str) -> Batch:
    """Return the next batch, as soon as there is one."""
    found: list[Batch] = []

    def poll() -> bool:
        batch = tenure.poll(queue)
        if batch is not None:
            found.append(batch)
        return bool(found)

    until(tenure, poll)
    return found[0]


def wait_for_end(tenure: Tenure, queue: str) -> None:
    """Wait until a queue has ended."""
    until(tenure, lambda: tenure.ended(queue))


def push(tenure: Tenure, queue: str, numbers: Iterable[int]) -> None:
    """Push messages, an iteration each, and wait for their commit."""
    for n in numbers:
        until(tenure, lambda: tenure.has_room)
        tenure.append((), ((queue, item(n)),))
    settle(tenure)


def settle(tenure: Tenure) -> None:
    """Wait until nothing is in flight."""
    until(tenure, lambda: tenure.in_flight == 0)


def take(tenure: Tenure, queue: str, count: int, *, commit: bool = True, patience_s: float = PATIENCE_S) -> list[int]:
    """Take messages, an iteration each; the rest of a batch goes back."""
    taken: list[int] = []

    def poll() -> bool:
        batch = tenure.poll(queue)
        if batch is None:
            return False
        for i, got in enumerate(batch.items):
            if len(taken) == count:
                tenure.give_back(batch._replace(first=batch.first + i, items=batch.items[i:]))
                break
            taken.append(got[0]["n"])
            if commit:
                tenure.append(((queue, batch.first + i, batch.first + i),), ())
        return len(taken) == count

    while len(taken) < count:
        until(tenure, poll, patience_s) if not poll() else None
    if commit:
        settle(tenure)
    return taken


def take_all(tenure: Tenure, queue: str) -> list[int]:
    """Take everything until the queue has ended."""
    taken: list[int] = []

    def ended() -> bool:
        while (batch := tenure.poll(queue)) is not None:
            for i, got in enumerate(batch.items):
                taken.append(got[0]["n"])
                tenure.append(((queue, batch.first + i, batch.first + i),), ())
        return tenure.ended(queue)

    until(tenure, ended)
    return taken
