"""Where loops and queues get the time from: the system's clock, or one that a test drives."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """Tells the time. `driven`: it only moves when somebody moves it, so no timer may be set by it."""

    driven: bool

    def monotonic(self) -> float:
        """Seconds that never go back, for deadlines."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, for people and records."""
        ...

    def subscribe(self, moved: Callable[[], None]) -> None:
        """Call `moved` after each jump of a driven clock."""


class SystemClock:
    """The clocks of the operating system."""

    driven = False

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def subscribe(self, moved: Callable[[], None]) -> None:
        """Do nothing: this clock needs nobody to say that it moved."""


class DrivenClock:
    """A clock that stands still until a test advances it."""

    driven = True

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._subscribers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Seconds that the test advanced so far."""
        return self._elapsed

    def time(self) -> float:
        """The start, and the seconds that the test advanced."""
        return self._start + self._elapsed

    def subscribe(self, moved: Callable[[], None]) -> None:
        """Call `moved` after each jump."""
        with self._lock:
            self._subscribers.append(moved)

    def advance(self, seconds: float) -> None:
        """Move on, and wake everything that waits for a time."""
        with self._lock:
            self._elapsed += seconds
            subscribers = list(self._subscribers)
        for moved in subscribers:
            moved()
