from __future__ import annotations

import logging

import pytest

from treadle.queues.tenure import LoopKey
from treadle_agent.frames import Address, Line, Lines
from treadle_agent.supervisor.tell import MAX_KEPT, LogTeller

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
    assert told.flush() is None


def test_whoever_watches_a_loop_gets_its_lines_and_no_others() -> None:
    told = teller()
    told.subscribe({ADDRESS})
    told.take(Lines([line("logged"), line("host", run=0)]))
    told.printed([ADDRESS], "process", "printed")
    told.printed([ADDRESS, Address("ns", LoopKey("w", "other"))], "thread", "by one of two")

    batch = told.flush()

    assert batch is not None
    assert [each.message for each in batch.lines] == ["logged", "printed"]
    assert (batch.lines[0].loop, batch.lines[0].node, batch.lines[0].agent) == ("l", "n", "agent")
    assert told.flush() is None


def test_what_is_too_much_is_counted() -> None:
    told = teller()
    told.subscribe({ADDRESS})
    told.take(Lines([line("x")] * (MAX_KEPT + 5), dropped=7))

    batch = told.flush()

    assert batch is not None
    assert (len(batch.lines), batch.dropped) == (MAX_KEPT, 12)
