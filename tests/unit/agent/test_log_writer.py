"""A log that nobody reads holds nobody up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from treadle_agent import log_writer
from treadle_agent.log_writer import LogWriter

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def say(writer: LogWriter, text: str) -> None:
    writer.handle(logging.LogRecord("n", logging.INFO, __file__, 1, "%s", (text,), None))


def lines(reader: int, last: str) -> list[str]:
    """Read until a line has come."""
    data = b""
    while last.encode() not in data.splitlines():
        data += os.read(reader, 65536)
    return data.decode().splitlines()


def test_what_is_logged_is_written_in_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe[1])
    for n in range(100):
        say(writer, str(n))
    writer.flush()
    assert lines(pipe[0], "99") == [str(n) for n in range(100)]


def test_what_nobody_reads_is_dropped_and_counted_and_the_rest_comes_later(pipe: Pipe) -> None:
    writer = LogWriter(pipe[1])
    count = 3 * log_writer.MAX_BYTES // 100
    for n in range(count):  # this would never end if it waited for the reader
        say(writer, f"{n:099d}")

    told: list[str] = []
    while not any("were dropped" in line for line in told):
        told += os.read(pipe[0], 65536).decode().splitlines()
        say(writer, "x" * 99)

    assert told[0] == f"{0:099d}"
    assert any("lines of this log were dropped: it is read too slowly" in line for line in told)


def test_nothing_is_lost_where_somebody_has_made_it_a_pipe_that_does_not_block(pipe: Pipe) -> None:
    os.set_blocking(pipe[1], False)
    writer = LogWriter(pipe[1])
    count = log_writer.MAX_BYTES // 200
    for n in range(count):
        say(writer, f"{n:099d}")
    assert lines(pipe[0], f"{count - 1:099d}") == [f"{n:099d}" for n in range(count)]


def test_the_end_does_not_wait_for_a_reader_for_ever(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "FLUSH_S", 0.01)
    writer = LogWriter(pipe[1])
    for _ in range(2_000):
        say(writer, "x" * 99)
    writer.flush()
    assert writer._size > 0


def test_a_reader_that_has_gone_is_no_reason_to_fail() -> None:
    reader, end = os.pipe()
    os.close(reader)
    writer = LogWriter(end)
    say(writer, "to nobody")
    writer.flush()
    say(writer, "still to nobody")
    writer.flush()
    assert writer._size == 0
    os.close(end)
