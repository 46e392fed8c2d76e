"""Telemetry never blocks work: a collector that is away or refuses fills no memory, and losses are counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import grpc
import pytest

from tests.otlp import Receiver, receiver
from treadle.errors import ConfigError
from treadle.telemetry import export
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.export import Exporter
from treadle.telemetry.origin import Origin, context_headers, read_origin
from treadle.telemetry.span import Span
from treadle.telemetry.span_encoding import encode_spans

RESOURCE = resource_of({"service.name": "test"})
PATIENCE_S = 20.0


def spans(count: int) -> bytes:
    return encode_spans([Span("s", 1, start=1) for _ in range(count)], RESOURCE)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def exporter(collector: Receiver) -> Iterator[Exporter]:
    made = Exporter(collector.endpoint)
    made.start()
    yield made
    made.stop()


def test_many_batches_are_one_request_that_a_collector_reads(collector: Receiver, exporter: Exporter) -> None:
    for _ in range(5):
        exporter.send("traces", spans(2), 2)

    collector.wait(lambda: len(collector.spans) == 10, "all have come")
    assert collector.calls < 5


def test_what_a_collector_refuses_for_good_is_dropped_counted_and_told_once(
    collector: Receiver, exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuse = grpc.StatusCode.INVALID_ARGUMENT
    for calls in (1, 2):
        exporter.send("traces", spans(3), 3)
        collector.wait(lambda calls=calls: collector.calls == calls, "it was tried")  # type: ignore[misc]
    collector.refuse = None
    exporter.send("traces", spans(1), 1)

    collector.wait(lambda: len(collector.spans) == 1, "the next one comes")
    assert exporter.tally["traces"].dropped == 6
    assert caplog.text.count("the collector refuses traces: INVALID_ARGUMENT as the test wants it") == 1


def test_a_collector_that_is_slow_holds_nobody_up_and_fills_no_memory(collector: Receiver, exporter: Exporter) -> None:
    collector.hold = threading.Event()
    body = b"x" * 100_000
    exporter.send("logs", body, 1)
    collector.wait(lambda: collector.calls == 1, "it has begun")

    for _ in range(200):
        exporter.send("logs", body, 1)

    assert exporter.waiting_bytes <= export.MAX_BYTES
    assert exporter.tally["logs"].dropped == 200 - export.MAX_BYTES // len(body)
    collector.hold.set()


def test_a_collector_that_is_dead_costs_what_waits_and_no_more() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    exporter = Exporter(f"http://127.0.0.1:{port}")
    exporter.start()

    exporter.send("metrics", spans(1), 7)
    exporter.stop()

    assert exporter.tally["metrics"].sent == 0
    exporter.send("metrics", spans(1), 2)
    assert exporter.tally["metrics"].dropped >= 2, "and after its end nothing waits"


def test_whoever_makes_telemetry_is_told_while_a_collector_is_away(
    collector: Receiver, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAUSE_S", (0.001, 0.001))
    collector.refuse = grpc.StatusCode.UNAVAILABLE
    exporter.send("traces", spans(3), 3)
    collector.wait(lambda: collector.calls, "it is tried")
    exporter.send("traces", spans(1), 1)
    collector.wait(lambda: collector.calls > export.TRIES, "the next one is tried")
    assert exporter.away
    assert exporter.tally["traces"].dropped == 3
    collector.refuse = None

    collector.wait(lambda: len(collector.spans) == 1, "that one is taken")
    exporter.send("traces", spans(2), 2)
    collector.wait(lambda: len(collector.spans) == 3, "and what comes then")
    assert not exporter.away


@pytest.mark.parametrize(
    "endpoint", ["", "collector:4317", "ftp://c:4317", "http://c", "http://u:p@c:4317", "http://c:1/x"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        Exporter(endpoint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-0-0-01",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"ff-{'1' * 32}-{'1' * 16}-01",
        f"00-{'A' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'1' * 16}-01-more",
    ],
)
def test_what_is_no_traceparent_names_no_origin(text: str) -> None:
    assert read_origin({"traceparent": text}) is None
    assert context_headers({"traceparent": text, "tracestate": "a=1", "baggage": "b=2"}) == {"baggage": "b=2"}


def test_an_origin_is_read_as_it_was_written() -> None:
    for origin in (Origin(1, 2), Origin(2**128 - 1, 2**64 - 1, sampled=False)):
        assert read_origin({"traceparent": origin.traceparent}) == origin
    later = f"01-{'1' * 32}-{'2' * 16}-03-what-comes-later"
    assert read_origin({"traceparent": later}) == Origin(int("1" * 32, 16), int("2" * 16, 16))
