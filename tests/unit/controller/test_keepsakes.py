"""What many new loops are made of is set aside from the garbage collector, and never more often than there are more."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from treadle_controller.leader.keepsakes import Keepsakes


@pytest.fixture
def set_aside() -> Iterator[None]:
    before = gc.get_freeze_count()
    yield
    if not before:
        gc.unfreeze()


@pytest.mark.usefixtures("set_aside")
def test_only_many_more_loops_than_there_ever_were_are_set_aside() -> None:
    keepsakes = Keepsakes(500)

    counts = []
    for loops in (1_499, 1_500, 2_499, 100, 2_000, 2_500):
        made: list[list[int]] = [[] for _ in range(10)]  # something new each time
        before = gc.get_freeze_count()
        keepsakes.note(loops)
        counts.append(gc.get_freeze_count() - before >= len(made))

    assert counts == [False, True, False, False, False, True]
