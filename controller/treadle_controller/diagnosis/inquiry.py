"""What the rules share: the situation, and how one loop leads to the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

from treadle_controller.diagnosis.situation import LoopFacts, QueueFacts, Situation
from treadle_controller.diagnosis.verdict import Verdict

_FAR: Final = 8  # loops in a row that explain one another


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One question; `seen` are the loops that it has led through, which explain nothing again."""

    situation: Situation
    answer: Callable[[Inquiry, LoopFacts], Verdict]
    seen: tuple[str, ...] = ()
    pressed: tuple[str, ...] = ()  # queues that somebody waits for room in: whoever reads them is too slow

    @property
    def now(self) -> float:
        return self.situation.now

    def queue(self, name: str) -> QueueFacts:
        """Return what is known of a queue."""
        return self.situation.queues.get(name, QueueFacts(name))

    def readers(self, queue: QueueFacts) -> list[Verdict]:
        """Return the verdicts on the readers of a queue that is full, the worst first."""
        return replace(self, pressed=(*self.pressed, queue.name)).others(queue.readers)

    def others(self, loops: Collection[str]) -> list[Verdict]:
        """Return the verdicts on other loops, the worst first."""
        return sorted(self._verdicts(loops), key=lambda verdict: verdict.gravity)

    def _verdicts(self, loops: Collection[str]) -> Iterator[Verdict]:
        for name in loops:
            other = self.situation.loops.get(name)
            if other is not None and name not in self.seen and len(self.seen) < _FAR:
                yield self.answer(replace(self, seen=(*self.seen, name)), other)
