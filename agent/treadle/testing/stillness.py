"""Knowing when nothing moves any more: all loops of a harness wait for something to happen."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from treadle.queues.bell import Bell

_PATIENCE_S: Final = 60.0  # real seconds for a node to finish what it does


class Stillness:
    """Watches the bells of several loops; one lock for all, so that a look sees one moment."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._bells: list[WatchedBell] = []

    def bell(self) -> WatchedBell:
        """Return a bell for one more loop."""
        bell = WatchedBell(self._condition)
        self._bells.append(bell)
        return bell

    def wait(self) -> None:
        """Block until every loop waits or has ended. Raises TimeoutError when a node never gets done."""
        with self._condition:
            if not self._condition.wait_for(lambda: all(bell.still for bell in self._bells), _PATIENCE_S):
                raise TimeoutError(f"a loop was still busy after {_PATIENCE_S} s")


class WatchedBell(Bell):
    """A Bell that says whether somebody waits for it and it has not rung."""

    def __init__(self, condition: threading.Condition) -> None:
        super().__init__()
        self._condition = condition
        self._rung = False
        self._waiting = False
        self._ended = False
        self._sleeper: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def still(self) -> bool:
        """Whether its loop can't move by itself; asked with the lock held."""
        return self._ended or (self._waiting and not self._rung)

    def end(self) -> None:
        """Note that its loop has ended."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._condition:
            self._rung = True
            self._condition.notify_all()
            if self._sleeper is not None:
                loop, event = self._sleeper
                loop.call_soon_threadsafe(event.set)

    def wait(self, timeout_s: float | None) -> None:
        """Block until it rings."""
        with self._condition:
            self._waiting = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._rung, timeout_s)
            self._rung = self._waiting = False

    async def wait_async(self, timeout_s: float | None) -> None:
        """Await the same."""
        event = asyncio.Event()
        with self._condition:
            if self._rung:
                self._rung = False
                return
            self._sleeper = (asyncio.get_running_loop(), event)
            self._waiting = True
            self._condition.notify_all()
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return
        finally:
            with self._condition:
                self._sleeper = None
                self._rung = self._waiting = False
