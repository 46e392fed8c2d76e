"""The harness sees: every mutant of the commit path is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.queues.mutants import MUTANTS, Mutant
from tests.chaos.queues.theatre import perform


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught(
    mutant: Mutant, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    result = perform(
        mutant.piece, "valkey", tmp_path, seed=seed, size=mutant.size, patches=mutant.patches, patience_s=2.5
    )

    kinds = {sentence.partition(":")[0] for sentence in result.violations}
    record_property("mutant", [mutant.name, sorted(kinds & set(mutant.kinds))])
    assert kinds & set(mutant.kinds), f"{mutant.name} was not caught: {result.violations}, {result.bites}"
