"""Spans that are written by hand are what protobuf's classes read."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.origin import Origin
from treadle.telemetry.span import Kind, Span
from treadle.telemetry.span_encoding import encode_spans

RESOURCE = resource_of({c.SERVICE_NAME: "test", c.PROCESS_PID: 1})
TEXTS = st.text(max_size=300)
WHOLE = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**64 - 1)
VALUES = TEXTS | st.booleans() | WHOLE | st.floats(allow_nan=False)
ATTRIBUTES = st.dictionaries(TEXTS, VALUES, max_size=4)
TRACES, IDS = st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1)
ORIGINS = st.builds(Origin, TRACES, IDS, st.booleans(), TEXTS)


PARTS = st.fixed_dictionaries(
    {
        "name": TEXTS,
        "trace_id": TRACES,
        "start": TIMES,
        "parent_id": st.just(0) | IDS,
        "kind": st.sampled_from(Kind),
        "attributes": ATTRIBUTES,
        "links": st.lists(ORIGINS, max_size=2).map(tuple),
        "state": TEXTS,
        "remote_parent": st.booleans(),
    }
)
ENDS = st.tuples(TIMES, st.none() | TEXTS, st.lists(st.tuples(TIMES, TEXTS, ATTRIBUTES), max_size=2))
SPANS = st.lists(st.tuples(PARTS, ENDS), max_size=4)


def made(parts: dict[str, Any], end: tuple[int, str | None, list[Any]]) -> Span:
    span = Span(**parts)
    span.end, span.error, span.events = end
    return span


def read(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def attributes(found: Any) -> list[tuple[str, Any, type]]:
    return [(each.key, read(each.value), type(read(each.value))) for each in found]


def told(given: dict[str, Any]) -> list[tuple[str, Any, type]]:
    return [(key, value, type(value)) for key, value in given.items()]


@given(SPANS, SPANS)
def test_what_is_written_is_what_is_read(first: list[Any], second: list[Any]) -> None:
    some, more = [made(*each) for each in first], [made(*each) for each in second]
    request = ExportTraceServiceRequest.FromString(encode_spans(some, RESOURCE) + encode_spans(more, RESOURCE))

    assert [each.resource for each in request.resource_spans] == [RESOURCE, RESOURCE]
    scopes = [scope for each in request.resource_spans for scope in each.scope_spans]
    assert {(scope.scope.name, scope.schema_url) for scope in scopes} == {(c.SCOPE, c.SCHEMA_URL)}
    found = [span for scope in scopes for span in scope.spans]
    assert len(found) == len(some + more)
    for span, got in zip(some + more, found, strict=True):
        assert (got.name, int(got.kind), got.trace_state) == (span.name, int(span.kind), span.state)
        assert (got.trace_id, got.span_id) == (span.trace_id.to_bytes(16, "big"), span.span_id.to_bytes(8, "big"))
        assert got.parent_span_id == (span.parent_id.to_bytes(8, "big") if span.parent_id else b"")
        assert (got.start_time_unix_nano, got.end_time_unix_nano) == (span.start, span.end)
        assert (got.flags, attributes(got.attributes)) == (
            0x301 if span.remote_parent else 0x101,
            told(span.attributes),
        )
        assert [(event.time_unix_nano, event.name, attributes(event.attributes)) for event in got.events] == [
            (time, name, told(has)) for time, name, has in span.events
        ]
        assert [
            Origin(int.from_bytes(link.trace_id), int.from_bytes(link.span_id), bool(link.flags & 1), link.trace_state)
            for link in got.links
        ] == list(span.links)
        assert all(link.flags & 0x300 == 0x300 for link in got.links)
        assert (got.status.code, got.status.message) == ((0, "") if span.error is None else (2, span.error))


def test_what_utf_8_has_no_form_for_does_not_keep_a_span_from_being_written() -> None:
    span = Span("half \ud800", 1, start=1, state="\ud800", attributes={"file": "\udcff"})
    span.error = "no such file: \udcff"
    [got] = ExportTraceServiceRequest.FromString(encode_spans([span], RESOURCE)).resource_spans[0].scope_spans[0].spans

    assert (got.name, got.trace_state, got.status.message) == ("half ?", "?", "no such file: ?")
    assert read(got.attributes[0].value) == "?"
