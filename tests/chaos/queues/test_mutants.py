"""The harness sees: every mutant of the commit path is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.queues.mutants import MUTANTS, Mutant
from tests.chaos.queues.theatre import perform

_MOST_PLAYS: Final = 3  # whether a fault hits what a mutant does wrong is a matter of moments: one play may miss it


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught(
    mutant: Mutant, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    missed = []
    for play in range(_MOST_PLAYS):
        folder = tmp_path / str(play)
        folder.mkdir()
        result = perform(
            mutant.piece, "valkey", folder, seed=seed + play, size=mutant.size, patches=mutant.patches, patience_s=2.5
        )
        kinds = {sentence.partition(":")[0] for sentence in result.violations} & set(mutant.kinds)
        if kinds:
            record_property("mutant", [mutant.name, sorted(kinds)])
            return
        missed.append((result.violations, result.bites))
    pytest.fail(f"{mutant.name} was not caught: {missed}")
