"""Asks Redis, again and again, whether it answers and whether it is the one that the controller means."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

import redis.asyncio
from redis.exceptions import RedisError

from treadle.endings import end
from treadle.errors import QueueError
from treadle.queues.keys import Keys
from treadle.queues.locate import locate
from treadle_agent.frames import Why

_log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
RETRY_S: Final = 0.2
TIMEOUT_S: Final = 2.0


class RedisProbe:
    """Watches one namespace. `on_change(why)` is called when what keeps loops from starting changes; None: nothing."""

    def __init__(self, url: str, on_change: Callable[[Why | None], None]) -> None:
        self._url = url
        self._on_change = on_change
        self._namespace = ""
        self._id = ""
        self._client: redis.asyncio.Redis | None = None
        self._task: asyncio.Task[None] | None = None
        self.why: Why | None = None
        self._answered_at = time.monotonic()

    @property
    def silence_s(self) -> float:
        """How long ago Redis answered last."""
        return time.monotonic() - self._answered_at

    @property
    def reachable(self) -> bool:
        return self.why is None or self.why.code == "wrong-redis"

    def watch(self, namespace: str, redis_id: str) -> None:
        """Watch this namespace from now on; an empty id means that any Redis will do."""
        if (namespace, redis_id) == (self._namespace, self._id) and self._task is not None:
            return
        self._namespace, self._id = namespace, redis_id
        self._task = asyncio.create_task(self._watch(self._task), name="redis probe")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end(task)
        await self._hang_up()

    async def _watch(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await end(before)
            await self._hang_up()  # it may have been in the middle of an answer
        while True:
            self._learn(await self._ask())
            await asyncio.sleep(RETRY_S if self.why is not None else INTERVAL_S)

    async def _ask(self) -> Why | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._client is None:
                    self._client = (await locate(self._url, self._namespace)).client(decode_responses=True)
                found = await self._client.hget(Keys(self._namespace).meta, "id")
            self._answered_at = time.monotonic()
        except (RedisError, QueueError, OSError) as exc:  # TimeoutError is an OSError
            await self._hang_up()
            return Why("redis-unreachable", f"Redis does not answer: {str(exc) or 'it takes too long'}")
        if self._id and found != self._id:
            message = f"this Redis holds namespace id {found!r}, and the controller means {self._id}"
            return Why("wrong-redis", message)
        return None

    def _learn(self, why: Why | None) -> None:
        before, self.why = self.why, why
        if (before and before.code) != (why and why.code):
            _log.warning("Redis: %s", why.message) if why else _log.info("Redis answers")
            self._on_change(why)

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()
