"""When the producer may be called next, and which `on_tick` is due. Pure: the time is handed in."""

from __future__ import annotations

from typing import Final

FIRST_IDLE_S: Final = 0.001
LONGEST_IDLE_S: Final = 1.0


class Pace:
    """`next_call`: the producer is not called before this moment. `interval_s` is the least time between two calls."""

    __slots__ = ("_idle_s", "interval_s", "next_call")

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self.next_call = float("-inf")
        self._idle_s = 0.0

    def calling(self, now: float) -> None:
        """Note a call. Nothing is made up after an overrun: the next one counts from this."""
        if self.interval_s:
            self.next_call = now + self.interval_s

    def idle(self, now: float, after_s: float | None = None) -> None:
        """Note that there was no work; `after_s` is what the producer asked for, else the wait doubles."""
        if after_s is None:
            after_s = self._idle_s = min(max(FIRST_IDLE_S, 2 * self._idle_s), LONGEST_IDLE_S)
        self.next_call = max(self.next_call, now + after_s)

    def worked(self) -> None:
        """Note that there was work: the next wait starts small again."""
        self._idle_s = 0.0


class Ticks:
    """Which steps want `on_tick`, and when; `every` maps a step to its seconds."""

    __slots__ = ("_due", "_every")

    def __init__(self, every: dict[int, float], now: float) -> None:
        self._every = every
        self._due = {step: now + seconds for step, seconds in every.items()}

    def take_due(self, now: float) -> int | None:
        """Return a step whose tick is due, and set its next."""
        for step, due in self._due.items():
            if due <= now:
                self._due[step] = now + self._every[step]
                return step
        return None

    @property
    def next_due(self) -> float | None:
        """The moment of the next tick."""
        return min(self._due.values(), default=None)
