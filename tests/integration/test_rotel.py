"""A collector that others wrote takes what treadle sends, and forwards the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.otlp import Receiver, receiver
from tests.require import Require
from tests.rotel import rotel
from treadle.telemetry import conventions as c
from treadle.telemetry.counts import Counts
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.export import Exporter
from treadle.telemetry.logs import encode_logs
from treadle.telemetry.loops import LoopFamilies
from treadle.telemetry.metric_encoding import encode_metrics
from treadle.telemetry.origin import Origin
from treadle.telemetry.record import LogRecord
from treadle.telemetry.span import Kind, Span
from treadle.telemetry.span_encoding import encode_spans
from treadle.v1 import loop_pb2

RESOURCE = resource_of({c.SERVICE_NAME: "treadle-agent", c.SERVICE_INSTANCE_ID: "a"})
FOREIGN = Origin(0xABC, 0xDEF)


@pytest.fixture
def backend() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def endpoint(require: Require, backend: Receiver, tmp_path: Path) -> Iterator[str]:
    """Return the endpoint of a rotel that forwards to the backend."""
    require.module("rotel")
    with rotel(tmp_path, backend.endpoint) as running:
        yield running


def test_traces_metrics_and_logs_come_out_as_they_went_in(endpoint: str, backend: Receiver) -> None:
    span = Span("process q", 5, start=10, kind=Kind.CONSUMER, parent_id=7, links=(FOREIGN,), attributes={c.LOOP: "l"})
    span.end, span.error = 20, "broken"
    status = loop_pb2.LoopStatus(loop=loop_pb2.LoopRef(namespace="n", workflow="w", loop="l"), committed=42)
    loops = LoopFamilies()
    loops.add(status, Counts())
    points, count = encode_metrics(loops.all, RESOURCE, since_ns=1, now_ns=2)
    exporter = Exporter(endpoint)
    exporter.start()
    exporter.send("traces", encode_spans([span], RESOURCE), 1)
    exporter.send("metrics", points, count)
    exporter.send("logs", encode_logs([LogRecord(1.5, "WARNING", "hear", {c.NODE: "x"}, 5, 6)], RESOURCE), 1)

    backend.wait(lambda: backend.spans and backend.points and backend.logs, "all three are forwarded")

    (got,) = backend.spans
    assert (got.name, got.id, got.parent) == ("process q", span.span_id.to_bytes(8, "big"), (7).to_bytes(8, "big"))
    assert (got.links, got.raw.kind, got.raw.status.message) == ([(0xDEF).to_bytes(8, "big")], 5, "broken")
    assert (got.attributes, got.resource[c.SERVICE_NAME]) == ({c.LOOP: "l"}, "treadle-agent")
    committed = [point.as_int for _, name, _, point in backend.points if name == "treadle.loop.committed_iterations"]
    assert committed == [42]
    (record,) = backend.logs
    assert (record.body.string_value, record.severity_text, record.span_id) == (
        "hear",
        "WARNING",
        (6).to_bytes(8, "big"),
    )
    exporter.stop()
    assert {signal: tally.dropped for signal, tally in exporter.tally.items()} == dict.fromkeys(exporter.tally, 0)
