from __future__ import annotations

import asyncio
import os

from treadle_agent.supervisor.output import LINES_A_SECOND, MAX_LINE, Output


def printed(*chunks: bytes) -> list[str]:
    """Return the lines that come of these writes and an end."""

    async def read() -> list[str]:
        lines: list[str] = []
        reading, writing = os.pipe()
        output = Output(reading, lines.append)
        for chunk in chunks:
            os.write(writing, chunk)
            output.drain()
        os.close(writing)
        output.close()
        return lines

    return asyncio.run(read())


def test_lines_are_put_together_however_they_were_written_and_empty_ones_say_nothing() -> None:
    assert printed(b"on", b"e\ntw", b"o\r\n\nthree") == ["one", "two", "three"]


def test_bytes_that_are_no_text_are_shown_and_harm_nothing() -> None:
    assert printed(b"\xff\xfe\n") == ["\ufffd\ufffd"]


def test_a_line_without_an_end_is_cut_into_pieces() -> None:
    lines = printed(b"x" * 20_000)

    assert max(map(len, lines)) == MAX_LINE
    assert sum(map(len, lines)) == 20_000


def test_a_flood_is_cut_off_and_counted() -> None:
    lines = printed(*(b"x\n" * 500 for _ in range(10)))

    assert len(lines) <= 2 * LINES_A_SECOND + 2  # a second may end meanwhile
    assert "lines were dropped" in lines[-1]
