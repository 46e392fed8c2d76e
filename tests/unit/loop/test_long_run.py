"""24 hours of random failures, on a clock that jumps to whatever is waited for: the same again by the same seed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.unit.loop.small import KEY, From, Small, StatefulBy
from treadle import LoopComplete, Permanent, Retry
from treadle.loop import LoopManager
from treadle.queues.bell import Bell
from treadle.queues.codec import decode
from treadle.queues.memory import MemoryHost
from treadle.workflow.plan import RetryPolicy

HOURS_24_S = 86_400.0
INTERVAL_S = 20.0


class JumpingClock:
    """Moves on when a loop waits for it."""

    driven = False

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def subscribe(self, moved: Any) -> None:
        """Nobody else moves it."""


class JumpingBell(Bell):
    """Doesn't wait: the time is over at once."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout_s: float | None) -> None:
        assert timeout_s is not None, "nothing would ever wake the loop"
        self._clock.now += timeout_s


class Day:
    """One day of one loop, started again whenever it fails."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = JumpingClock()
        self.host = MemoryHost("ns", clock=self.clock)
        self.restarts = 0

    def unlucky(self, node: Any, data: Any) -> Any:
        node.state["sum"] = node.state.get("sum", 0) + data["n"]
        if self.dice.random() < 0.3:
            raise self.dice.choice([ValueError(), OSError(), SystemExit(1), Retry(after=7), Permanent("no")])
        return {"n": data["n"], "sum": node.state["sum"]}

    def produce(self, node: Any) -> Any:
        if self.dice.random() < 0.1:
            raise ConnectionError
        n = node.state["n"] = node.state.get("n", 0) + 1
        return {"n": n} if self.clock.now < HOURS_24_S else LoopComplete()

    def live(self, small: Small) -> LoopManager:
        """Run one life."""
        manager, tenure = small.open()
        tenure._bell = JumpingBell(self.clock)
        manager._chance = self.dice.random
        self.outcome = manager.run()
        return manager

    def run(self, small: Small) -> None:
        """Run until the loop completes."""
        self.live(small)
        while self.outcome.kind == "failed":
            self.restarts += 1
            self.clock.now += 1.0
            self.live(small)


class Numbers(From):
    """A producer with state."""

    stateful = True


def a_day(seed: int) -> tuple[list[Any], int, list[int], list[Any]]:
    day = Day(seed)
    policy = RetryPolicy(max_attempts=4, max_elapsed_s=None)
    first = Small(
        Numbers(day.produce),
        (StatefulBy(day.unlucky),),
        host=day.host,
        clock=day.clock,
        retry=policy,
        settings={"interval_s": INTERVAL_S},
    )
    day.run(first)
    out = first.out()
    second = Small(None, (StatefulBy(day.unlucky),), host=day.host, clock=day.clock, retry=policy)
    day.host.drop_loop(KEY)
    day.host.queue("in").waiting, day.host.queue("in").tail = day.host.queue("out").waiting.copy(), len(out) + 1
    day.host.queue("out").waiting.clear()
    day.host.enter_writers({"in": ()})
    day.run(second)
    dead = [decode(letter.item)[0]["n"] for letter in day.host.queue("in").dead]
    return out, day.restarts, dead, second.out()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_of_failures_loses_nothing_and_does_nothing_twice(seed: int) -> None:
    out, restarts, dead, processed = a_day(seed)
    numbers = [each["n"] for each in out]
    assert numbers == list(range(1, len(out) + 1))
    assert [each["sum"] for each in out] == [n * (n + 1) // 2 for n in numbers]
    assert len(out) > 1_000
    assert restarts > 50
    done = [each["n"] for each in processed]
    assert sorted(done + dead) == numbers
    assert (done, dead) == (sorted(done), sorted(dead))
    assert len(dead) > 50
    sums, total = [], 0
    for n in done:
        total += n
        sums.append(total)
    assert [each["sum"] for each in processed] == sums


def test_the_same_seed_gives_the_same_day() -> None:
    assert a_day(3) == a_day(3)
