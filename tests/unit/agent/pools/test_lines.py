from __future__ import annotations

import logging

from treadle.queues.tenure import LoopKey
from treadle_agent.frames import Address
from treadle_agent.pools.lines import MAX_LENGTH, MAX_LINES, NOWHERE, LineCollector, text_of

ADDRESS = Address("ns", LoopKey("w", "l"))
NAMES = {"namespace": "ns", "workflow": "w", "loop": "l", "replica": 0, "node": "n"}


def record(message: str, *args: object, **names: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "args": args, "levelname": "INFO", **names})


def test_a_record_of_a_node_has_its_run_and_any_other_the_hosts() -> None:
    collector = LineCollector(lambda address: 5 if address == ADDRESS else 0, lambda: NOWHERE)
    collector.handle(record("%s is here", "n", **NAMES))
    collector.handle(record("host"))

    lines = collector.collect()

    assert lines is not None
    assert [(line.run, line.node, line.message) for line in lines.lines] == [(5, "n", "n is here"), (0, "", "host")]
    assert collector.collect() is None


def test_a_flood_is_counted_and_kept_out() -> None:
    collector = LineCollector(lambda _: 0, lambda: NOWHERE)
    for _ in range(MAX_LINES + 3):
        collector.handle(record("x"))

    lines = collector.collect()

    assert lines is not None
    assert (len(lines.lines), lines.dropped) == (MAX_LINES, 3)


def test_what_does_not_fit_its_format_or_has_no_text_is_shown_as_well_as_can_be() -> None:
    collector = LineCollector(lambda _: 0, lambda: NOWHERE)
    collector.handle(record("%d", "no number"))
    collector.handle(record("\udc80"))
    collector.handle(record("x" * 100_000))

    lines = collector.collect()

    assert lines is not None
    assert "can't be formatted" in lines.lines[0].message
    assert lines.lines[1].message == "?"
    assert len(lines.lines[2].message) == MAX_LENGTH + 3


def test_a_text_keeps_its_beginning_or_its_end() -> None:
    assert text_of("abcdef", 3) == "abc..."
    assert text_of("abcdef", 3, end=True) == "...def"
    assert text_of("abc", 3) == "abc"
