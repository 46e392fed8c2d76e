"""A bell that wakes one waiting thread or task; rung while nobody waits, it ends the next wait at once."""

from __future__ import annotations

import asyncio
import threading


class Bell:
    """`ring` may be called from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._lock:
            self._event.set()
            waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            _resolve_from_anywhere(loop, future)

    def wait(self, timeout_s: float | None) -> None:
        """Block until it rings or the time is over."""
        self._event.wait(timeout_s)
        self._event.clear()

    async def wait_async(self, timeout_s: float | None) -> None:
        """Await the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._event.is_set():
                self._event.clear()
                return
            self._waiters.append((loop, future))
        timer = None if timeout_s is None else loop.call_later(timeout_s, _resolve, future)
        try:
            await future
        finally:
            self._event.clear()
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._waiters = [waiter for waiter in self._waiters if waiter[1] is not future]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _resolve_from_anywhere(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    try:
        loop.call_soon_threadsafe(_resolve, future)
    except RuntimeError:
        # The loop was closed between our look and this call: nobody waits any more.
        return
