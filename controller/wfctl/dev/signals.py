"""The signals that ask `wfctl dev` to stop."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody asked us to stop."""


class Signals:
    """Counts the signals that ask us to stop: one is a wish, two are an order.

    A handler runs in the thread that waits, in the middle of anything: it may take no lock, and an Event has one.
    """

    def __init__(self) -> None:
        self._count = 0
        self._heard, self._said = os.pipe()
        os.set_blocking(self._said, False)

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
        if select.select([self._heard], [], [], seconds)[0]:
            raise Stopped

    def _received(self) -> None:
        self._count += 1
        with contextlib.suppress(BlockingIOError):  # then there is more than enough to hear
            os.write(self._said, b".")
