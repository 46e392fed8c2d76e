"""The simulation is shown to see: each fault that is planted in the real code breaks an invariant."""

from __future__ import annotations

import pytest

from tests.chaos.cluster.faults import make_schedule
from tests.chaos.cluster.mutants import MUTANTS, planted
from tests.chaos.cluster.simulation import Outcome, run

_MOST_SEEDS = 150


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_seen(name: str) -> None:
    schedules = (make_schedule(seed, only=MUTANTS[name].shows_in) for seed in range(_MOST_SEEDS))
    with planted(name):
        assert any(_is_seen(run(schedule)) for schedule in schedules)


def _is_seen(outcome: Outcome) -> bool:
    """Whether an invariant broke; a mutant that only raises shows nothing of the simulation."""
    return any("an exception that nobody caught" not in breach for breach in outcome.breaches)
