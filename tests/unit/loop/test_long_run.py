"""24 hours of random failures under a driven clock, by seed; and the same with faults planted in the product."""

from __future__ import annotations

import pytest

from tests.unit.loop.day import Day, breaches
from tests.unit.loop.day_mutants import MUTANTS, planted

SHORT_S = 2 * 3600.0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_of_failures_loses_nothing_and_does_nothing_twice(seed: int) -> None:
    producing, processing = Day(seed).run()

    assert breaches(producing, processing) == []
    assert len(producing.out) > 1_000
    ends = [kind for kind, _, _ in producing.ends]
    assert ends.count("failed") > 50
    assert ends.count("lost") > 20
    assert len(processing.dead) > 50


def test_the_same_seed_gives_the_same_day() -> None:
    assert Day(3, SHORT_S).run() == Day(3, SHORT_S).run()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_seen(name: str) -> None:
    with planted(name):
        assert breaches(*Day(1, SHORT_S).run()) != []
