"""Who is woken before a message is read, and when the host's thread pauses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from treadle.queues.head_start import PAUSE_S, QUIET_S, SMALL, HeadStart
from treadle.queues.reader import Reader


class Loop:
    """Counts how often it is woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


def reader_of(loop: Loop) -> Reader:
    """Return what leads to a loop."""
    return cast("Reader", SimpleNamespace(tenure=cast("Any", loop)))


def test_a_message_after_a_while_wakes_its_loop_and_is_worth_one_pause() -> None:
    start, loop = HeadStart(), Loop()
    start.give(SMALL - 1, [reader_of(loop)], 100.0)
    assert loop.woken == 1
    assert (start.taken(), start.taken()) == (PAUSE_S, 0.0)
    start.give(100, [reader_of(loop)], 100.0 + 2 * QUIET_S)
    assert (loop.woken, start.taken()) == (2, PAUSE_S)


def test_nobody_pauses_where_there_is_more_to_do() -> None:
    start, loop, other = HeadStart(), Loop(), Loop()
    start.give(SMALL, [reader_of(loop)], 100.0)  # a batch
    assert (loop.woken, start.taken()) == (0, 0.0)
    start.give(100, [reader_of(loop)], 100.0 + QUIET_S / 2)  # soon after another
    assert (loop.woken, start.taken()) == (0, 0.0)
    start.give(100, [reader_of(loop), reader_of(other)], 200.0)  # for whom is not known yet
    start.give(100, [], 300.0)  # a ring
    assert (loop.woken, other.woken, start.taken()) == (0, 0, 0.0)


def test_what_comes_in_pieces_is_worth_no_pause() -> None:
    start, loop = HeadStart(), Loop()
    start.give(100, [reader_of(loop)], 100.0)
    start.give(100, [reader_of(loop)], 100.0 + QUIET_S / 100)
    assert (loop.woken, start.taken()) == (1, 0.0)
