"""Counts iterations that ran in a burst, where only the burst as a whole is timed.

What is slow is timed one by one. Of iterations that take some microseconds each, where a look at the clock after every
node would cost as much as the nodes, one is timed and a burst follows. Each execution is counted; how long it took is
taken from the iteration before the burst, and what a burst took beyond that is counted as one slow iteration's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from treadle.loop.stats import LoopStats

QUICK_NS: Final = 25_000  # what takes longer is timed by itself
LONGEST: Final = 128
BURST_NS: Final = 800_000  # about as long as a burst may take: others want their turn, and a commit what is done
HICCUP_NS: Final = 50_000  # a burst that took so much longer than it should hid something slow


class Tally:
    """`typical` is what the iteration before the burst took, `lasts` the bucket of each of its steps.

    `skipped` are the iterations of the burst that ended at a step, which is not the last.
    """

    __slots__ = ("_durations", "_lasts", "_length", "_steps", "skipped", "typical")

    def __init__(self, stats: LoopStats, lasts: list[int]) -> None:
        self.typical = 0
        self.skipped = [0] * len(lasts)
        self._length = 0
        self._lasts = lasts
        self._durations = stats.durations
        self._steps = [node.durations for node in stats.nodes]

    def timed(self, took_ns: int) -> int:
        """Take note of an iteration that was timed. Returns how long a burst may follow, 0 for none."""
        self.typical = took_ns
        self._adapt(took_ns)
        return self._length

    def burst(self, count: int, took_ns: int, reached: int) -> None:
        """Count the iterations of a burst, and the first steps, `reached` many, of one that is not over yet."""
        if count:
            self._adapt(took_ns // count)
            self._count(count, took_ns)
        for at in range(reached):
            self._steps[at][self._lasts[at]] += 1

    def _adapt(self, took_ns: int) -> None:
        longest = min(LONGEST, max(1, BURST_NS // max(1, took_ns)))
        self._length = min(2 * self._length + 1, longest) if took_ns < QUICK_NS else 0

    def _count(self, count: int, took_ns: int) -> None:
        lasts, skipped = self._lasts, self.skipped
        excess = took_ns - count * self.typical
        if excess > count * self.typical + HICCUP_NS:
            self._count_slow(excess.bit_length())
            self._durations[self.typical.bit_length()] += count - 1
        else:
            self._durations[(took_ns // count).bit_length()] += count
        for at, durations in enumerate(self._steps):
            durations[lasts[at]] += count
            if skipped[at]:
                count -= skipped[at]
                skipped[at] = 0

    def _count_slow(self, bucket: int) -> None:
        """Count the slow one of a burst; in the step that usually takes longest, since nobody looked."""
        lasts = self._lasts
        slowest = max(range(len(lasts)), key=lasts.__getitem__)
        self._durations[bucket] += 1
        self._steps[slowest][bucket] += 1
        self._steps[slowest][lasts[slowest]] -= 1
