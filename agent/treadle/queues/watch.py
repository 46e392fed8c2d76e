"""Whether a connection to Redis still answers."""

from __future__ import annotations

from treadle.queues.wire import Wire


class Watch:
    """Notices that a connection owes answers and gives none."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._seen = -1
        self._since = 0.0

    def look(self, wire: Wire, now: float) -> bool:
        """Return whether it is stuck."""
        if not wire.waiting or wire.answers != self._seen:
            self._seen, self._since = wire.answers, now
            return False
        return now - self._since > self._patience_s
