"""The signals that ask `wfctl dev` to stop."""

from __future__ import annotations

import signal
import threading
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody asked us to stop."""


class Signals:
    """Counts the signals that ask us to stop: one is a wish, two are an order."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Event()

    def listen(self) -> None:
        """Take the signals over; belongs to the main thread."""
        for number in _SIGNALS:
            signal.signal(number, lambda *_: self._received())

    @property
    def ordered(self) -> bool:
        """Whether the stop has to be now."""
        return self._count > 1

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as a signal came."""
        if self._changed.wait(seconds):
            raise Stopped

    def _received(self) -> None:
        self._count += 1
        self._changed.set()
