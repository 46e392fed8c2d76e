from __future__ import annotations

import logging

import pytest

from treadle.queues.tenure import LoopKey
from treadle_agent.frames import Address, Line, Lines
from treadle_agent.supervisor.tell import MAX_KEPT, REMEMBERED, REMEMBERED_CHARS, LogTeller

ADDRESS = Address("ns", LoopKey("w", "l"))


def teller() -> LogTeller:
    return LogTeller("agent", lambda run: ADDRESS if run == 1 else None)


def line(message: str, run: int = 1) -> Line:
    return Line(run, 1_700_000_000.5, "WARNING", "n", message)


def test_lines_are_in_the_agents_log_whether_anybody_watches_or_not(caplog: pytest.LogCaptureFixture) -> None:
    told = teller()
    with caplog.at_level(logging.INFO):
        told.take(Lines([line("seen"), line("host", run=0)]))
        told.printed([ADDRESS], "process", "printed")

    assert [record.getMessage() for record in caplog.records] == ["seen", "host", "printed"]
    assert told.flush() == []


def test_whoever_watches_a_loop_gets_its_lines_and_no_others() -> None:
    told = teller()
    told.subscribe({ADDRESS})
    told.take(Lines([line("logged"), line("host", run=0)]))
    told.printed([ADDRESS], "process", "printed")
    told.printed([ADDRESS, Address("ns", LoopKey("w", "other"))], "thread", "by one of two")

    (batch,) = told.flush()

    assert [each.message for each in batch.lines] == ["logged", "printed"]
    assert (batch.lines[0].loop, batch.lines[0].node, batch.lines[0].agent) == ("l", "n", "agent")
    assert told.flush() == []


def test_what_is_too_much_is_counted() -> None:
    told = teller()
    told.subscribe({ADDRESS})
    told.take(Lines([line("x")] * (MAX_KEPT + 5), dropped=7))

    (batch,) = told.flush()

    assert (len(batch.lines), batch.dropped) == (MAX_KEPT, 12)


def test_lines_of_the_past_are_told_once_to_whoever_asks_and_later_ones_come_after_them() -> None:
    told = teller()
    told.take(Lines([line("first"), line("second")]))
    told.recall(7, {ADDRESS}, 0.0)
    told.subscribe({ADDRESS})
    told.take(Lines([line("third")]))

    past, now = told.flush()

    assert (past.recall, [each.message for each in past.lines]) == (7, ["first", "second"])
    assert (now.recall, [each.message for each in now.lines]) == (0, ["third"])


def test_lines_on_their_way_to_a_watcher_go_before_the_past_that_holds_them_too() -> None:
    told = teller()
    told.subscribe({ADDRESS})
    told.take(Lines([line("first")]))
    told.recall(7, {ADDRESS}, 0.0)

    assert [batch.recall for batch in told.flush()] == [0, 7]


def test_the_past_begins_where_it_is_asked_for_and_is_of_the_loops_that_are_asked_for() -> None:
    told = teller()
    told.take(Lines([line("old")]))
    told.recall(1, {ADDRESS}, 1_800_000_000.0)
    told.recall(2, {Address("ns", LoopKey("w", "other"))}, 0.0)

    assert [list(batch.lines) for batch in told.flush()] == [[], []]


def test_what_is_remembered_is_bounded_by_number_and_by_size() -> None:
    told = teller()
    told.take(Lines([line("x")] * (REMEMBERED + 5)))
    told.recall(1, {ADDRESS}, 0.0)
    told.take(Lines([line("y" * 8000)] * 500))
    told.recall(2, {ADDRESS}, 0.0)
    many, large = told.flush()

    assert len(many.lines) == REMEMBERED
    assert sum(len(each.message) for each in large.lines) <= REMEMBERED_CHARS
