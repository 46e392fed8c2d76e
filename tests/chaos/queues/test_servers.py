"""Every message goes through once while servers die, forget, run out of memory and are meddled with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.queues.performing import perform_for
from tests.chaos.queues.programme import BY_HAND, NO_MEMORY, ROLLS_BACK, SERVER_DIES, Piece
from tests.require import Require
from tests.servers import KINDS, binary_of

PIECES = (BY_HAND, NO_MEMORY, ROLLS_BACK, SERVER_DIES)
WEIGHTS = {"server rolled back": 2.0}  # shares of the time of the long form; 1 for the rest
SUM = sum(WEIGHTS.get(piece.name, 1.0) for piece in PIECES) * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.name.replace(" ", "-"))
def test_nothing_is_lost_or_doubled(
    piece: Piece,
    kind: str,
    seed: int,
    minutes: float,
    tmp_path: Path,
    require: Require,
    record_property: Callable[[str, object], None],
) -> None:
    require(binary_of(kind), f"a {kind} server")
    seconds = minutes * 60 * WEIGHTS.get(piece.name, 1.0) / SUM

    row, wrong = perform_for(piece, kind, tmp_path, seed=seed, seconds=seconds)

    record_property("play", [f"{piece.name}, {kind}", dict(row)])
    assert not wrong, wrong
