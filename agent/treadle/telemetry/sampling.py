"""Which iterations are traced. Pure: time and chance are handed in.

A loop asks when it looks up from its work anyway, never for each iteration: those between two looks are not sampled and
cost nothing. The iteration after a look stands for all since the look before it, so its chance is so much the greater.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

SECOND_NS: Final = 1_000_000_000
CONTINUED: Final = 4  # times as many traces may be gone on with as may be begun


class Mute:
    """Whether what is recorded would be lost anyway: then nothing is, and what would have been is counted."""

    def __init__(self) -> None:
        self.on = False
        self._lost = 0

    def swallows(self) -> bool:
        """Tell whether something that is to be recorded now is lost instead."""
        self._lost += self.on
        return self.on

    def take_lost(self) -> int:
        """Return how much was lost since the last time."""
        lost, self._lost = self._lost, 0
        return lost


class Budget:
    """At most so many in any second, for all loops of a host; 0 is no limit. For any thread."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._taken: deque[int] = deque(maxlen=per_second or 1)
        self._lock = threading.Lock()

    def take(self, now_ns: int) -> bool:
        """Take one, if there is one left."""
        if not self.per_second:
            return True
        with self._lock:
            taken = self._taken
            if len(taken) == self.per_second and now_ns - taken[0] < SECOND_NS:
                return False
            taken.append(now_ns)
            return True

    def put_back(self) -> None:
        """Put back what was taken last."""
        with self._lock:
            if self._taken:
                self._taken.pop()


class Sampler:
    """Decides for one loop. `ratio` of its iterations is wanted, as far as the budget goes."""

    def __init__(self, ratio: float, budget: Budget, chance: Callable[[], float]) -> None:
        self._ratio = ratio
        self._budget = budget
        self._chance = chance
        self._seen = -1  # iterations when it was asked last
        self._owed = 0.0

    @property
    def spacing_ns(self) -> int | None:
        """How soon to ask again at the latest, so that a quick loop gets its share; None when that does not matter."""
        if self._budget.per_second:
            return SECOND_NS // self._budget.per_second  # not sooner: there may be nothing left to take
        return 0 if self._owed >= 1.0 else None

    def picks(self, iterations: int, now_ns: int) -> bool:
        """Tell whether the next iteration is traced; `iterations` have been done so far."""
        self._owed += self._ratio * (iterations - self._seen)
        self._seen = iterations
        if self._budget.per_second:
            self._owed = min(1.0, self._owed)  # a budget is not made up for later
        if self._owed <= 0.0 or self._chance() >= self._owed or not self._budget.take(now_ns):
            return False
        self._owed -= 1.0  # below zero, so that one that came early is waited for longer afterwards
        return True

    def put_back(self) -> None:
        """Take back the last pick: there was nothing to trace."""
        self._owed += 1.0
        self._budget.put_back()
