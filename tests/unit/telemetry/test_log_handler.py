"""What programs log, as telemetry gets it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.log_handler import TelemetryHandler
from treadle.telemetry.logs import encode_logs
from treadle.telemetry.record import LogRecord
from treadle.telemetry.span import Span
from treadle_controller.logs import JsonFormatter
from treadle_controller.telemetry.calls import Call, calling, mark_call


@pytest.fixture
def taken() -> list[LogRecord]:
    return []


@pytest.fixture
def log(taken: list[LogRecord]) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.telemetry")
    handler = TelemetryHandler(taken.append, besides=("test.telemetry.told-otherwise",))
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_line_is_a_record_with_what_was_said_beside_it(log: logging.Logger, taken: list[LogRecord]) -> None:
    log.warning("hear %s", "this", extra={"loop": "w/l/0", "trace_id": "ab", "span_id": "c", "other": 1})
    try:
        raise KeyError("x")  # noqa: TRY301 - as it comes
    except KeyError:
        log.exception("it failed")
    log.getChild("told-otherwise").error("no")

    first, second = taken
    assert (first.level, first.body, first.attributes) == ("WARNING", "hear this", {c.LOOP: "w/l/0"})
    assert (first.trace_id, first.span_id) == (0xAB, 0xC)
    assert (second.attributes[c.EXCEPTION_TYPE], second.trace_id) == ("KeyError", 0)
    assert "Traceback" in second.attributes[c.EXCEPTION_STACKTRACE]


def test_a_line_that_cannot_be_formatted_breaks_nothing(
    taken: list[LogRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    TelemetryHandler(taken.append).handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))

    assert taken == []
    assert "Logging error" in capsys.readouterr().err


def test_what_utf_8_has_no_form_for_is_sent_all_the_same() -> None:
    sent = ExportLogsServiceRequest.FromString(encode_logs([LogRecord(1.0, "INFO", "\udcff", {})], resource_of({})))

    assert sent.resource_logs[0].scope_logs[0].log_records[0].body.string_value == "?"


def test_a_line_of_the_controllers_log_has_the_ids_of_the_call_that_is_answered() -> None:
    record = logging.makeLogRecord({"msg": "done", "name": "x", "levelname": "INFO"})
    assert "trace_id" not in json.loads(JsonFormatter().format(record))
    token = calling.set(Call(Span("call", 0xAB, start=1), {}))
    try:
        assert mark_call(record)
    finally:
        calling.reset(token)

    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["trace_id"], len(line["span_id"])) == ("done", f"{0xAB:032x}", 16)
