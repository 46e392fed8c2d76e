"""10,000 messages a second into a queue, and a look at how steadily they come out of another one."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Final, Self

import redis

from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import encode_item
from treadle.queues.keys import Keys

PER_S: Final = 10_000
NAMESPACE: Final = "default"
_BATCH: Final = 100


class Feeder:
    """Pushes numbers to a queue, 10,000 a second, from a thread of its own."""

    def __init__(self, url: str, queue: str) -> None:
        self._url, self._queue = url, queue
        self._over = threading.Event()
        self._fed = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._feed()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> int:
        """Stop it; return how many it has pushed."""
        self._over.set()
        self._thread.join()
        return self._fed

    async def _feed(self) -> None:
        due = time.monotonic()
        async with QueueAdmin(self._url, NAMESPACE) as admin:
            while not self._over.is_set():
                await admin.push(self._queue, [encode_item({"n": self._fed + n}) for n in range(_BATCH)])
                self._fed += _BATCH
                due += _BATCH / PER_S
                await asyncio.sleep(due - time.monotonic())


class Gaps:
    """Looks at a queue about a thousand times a second, and notes how long nothing was pushed to it."""

    def __init__(self, url: str, queue: str) -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True)
        self._record = Keys(NAMESPACE).record(queue)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._since = time.monotonic()
        self._calm_since = self._since
        self.pushed = 0
        self.longest_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def reset(self) -> None:
        self.longest_s = 0.0
        self._calm_since = time.monotonic()

    def is_calm(self) -> bool:
        """Whether it has moved for a second without a pause that one would notice."""
        return time.monotonic() - self._calm_since > 1.0

    def _watch(self) -> None:
        while not self._over.wait(0.001):
            now = time.monotonic()
            found: Any = self._redis.hget(self._record, "tail")
            pushed = int(found or 1) - 1
            self.longest_s = max(self.longest_s, now - self._since)
            if now - self._since > 0.1:
                self._calm_since = now
            if pushed != self.pushed:
                self.pushed, self._since = pushed, now


def everything(url: str, queue: str) -> list[Any]:
    """Return the payloads of all messages in a queue, in order."""

    async def ask() -> list[Any]:
        async with QueueAdmin(url, NAMESPACE) as admin:
            return [one.item[0] for one in await admin.peek(queue, 1_000_000)]

    return asyncio.run(ask())
