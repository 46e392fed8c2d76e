"""What a loop sleeps on: a flag that threads and tasks can wait for, and that any thread may raise."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Latch:
    """A flag that lowers itself when somebody has waited for it. One waiter at a time.

    No raising is lost, but one that comes while a thread begins or ends its wait may end the next one, too: look at
    what you wait for, and wait again.
    """

    __slots__ = ("_future", "_lock", "raised")

    def __init__(self) -> None:
        self.raised = False  # for who sleeps on something else too, and looks at it first; such a one lowers it
        self._lock: threading.Lock | None = None  # held: not raised. Made when a thread waits first.
        self._future: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Raise the flag."""
        # The order matters: a waiter makes its lock or future first and then looks at the flag once more.
        self.raised = True
        lock, future = self._lock, self._future
        if lock is not None and lock.locked():
            with suppress(RuntimeError):  # another thread released it in between
                lock.release()
        if future is not None:
            loop = future.get_loop()
            if asyncio._get_running_loop() is loop:  # noqa: SLF001 the public form raises, and this is on the hot path
                _resolve(future)
            else:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_resolve, future)

    def wait(self, timeout_s: float | None) -> None:
        """Block the calling thread until the flag is raised or the time is over."""
        lock = self._lock
        if lock is None:
            lock = threading.Lock()
            lock.acquire()
            self._lock = lock
        if not self.raised:
            lock.acquire(timeout=-1 if timeout_s is None else max(0.0, min(timeout_s, threading.TIMEOUT_MAX)))
        self.raised = False

    async def wait_async(self, timeout_s: float | None) -> None:
        """Wait as a task until the flag is raised or the time is over."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._future = future
        timer = None
        try:
            if not self.raised:
                if timeout_s is not None:
                    timer = loop.call_later(max(0.0, timeout_s), _resolve, future)
                await future
        finally:
            self._future = None
            self.raised = False
            if timer is not None:
                timer.cancel()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
