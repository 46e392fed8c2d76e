"""A RedisHost in a thread of its own, for loops that are threads: the same calls, blocking."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

if TYPE_CHECKING:
    from treadle.errors import TenureLost
    from treadle.queues.redis_host import RedisHost
    from treadle.queues.redis_tenure import RedisTenure
    from treadle.queues.tenure import Tenure, TenureSpec

T = TypeVar("T")
SWITCH_INTERVAL_S = 0.0005


class ThreadedRedisHost:
    """See the module. Made by `RedisHost.in_thread`."""

    def __init__(self, host: RedisHost) -> None:
        self._host = host
        self.namespace = host.namespace
        # With the default of 5 ms a loop that computes holds up every answer for that long.
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        self._ready = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"queues of {host.namespace}", daemon=True)
        self._thread.start()
        self._ready.wait()
        try:
            self._do(host.start())
        except BaseException:
            self._end()
            raise

    @property
    def trouble(self) -> str | None:
        """Why Redis can't be used at the moment, None when it can."""
        return self._host.trouble

    @property
    def wrong(self) -> TenureLost | None:
        """Set when this Redis holds another namespace of the same name."""
        return self._host.wrong

    def open(self, spec: TenureSpec) -> RedisTenure:
        """Incarnate a loop under its epoch and load its state. Raises TenureLost, or QueueError without an answer."""
        return self._do(self._host.open(spec))

    def close(self, tenure: Tenure) -> None:
        """Let go of a loop; what it had not committed is forgotten."""
        if self._thread.is_alive():
            self._do(self._host.close(tenure))

    def stop(self) -> None:
        """Close the connections and end the thread; every tenure is lost."""
        if self._thread.is_alive():
            self._do(self._host.stop())
            self._end()

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(call, self._loop)
        return future.result()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._ready.set)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
