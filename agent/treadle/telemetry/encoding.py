"""Spans in OpenTelemetry's wire format, and what all signals have in common there: attributes and resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from treadle.telemetry.conventions import SCHEMA_URL, SCOPE
from treadle.telemetry.span import Span

_FLAGS: Final = 0x101  # sampled; whether the parent is remote is known
_REMOTE: Final = 0x200
_ERROR: Final = trace_pb2.Status.STATUS_CODE_ERROR


def resource_of(attributes: Mapping[str, Any]) -> Resource:
    """Return a resource."""
    return Resource(attributes=pairs(attributes))


def pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """Return attributes as they travel."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def any_value(value: Any) -> AnyValue:
    """Return a value as it travels; what OpenTelemetry has no form for becomes text."""
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int() if -(2**63) <= value < 2**63:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=str(value))


def encode_spans(spans: Iterable[Span], resource: Resource) -> bytes:
    """Return an export request for spans. Requests that are put together end to end are one request."""
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add(resource=resource, schema_url=SCHEMA_URL)
    of_scope = of_resource.scope_spans.add(scope=InstrumentationScope(name=SCOPE), schema_url=SCHEMA_URL)
    of_scope.spans.extend([_encoded(span) for span in spans])
    return request.SerializeToString()


def _encoded(span: Span) -> trace_pb2.Span:
    encoded = trace_pb2.Span(
        trace_id=span.trace_id.to_bytes(16, "big"),
        span_id=span.span_id.to_bytes(8, "big"),
        parent_span_id=span.parent_id.to_bytes(8, "big") if span.parent_id else b"",
        name=span.name,
        kind=int(span.kind),  # type: ignore[arg-type]
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
        attributes=pairs(span.attributes),
        trace_state=span.state,
        flags=_FLAGS | (_REMOTE if span.remote_parent else 0),
    )
    for link in span.links:
        encoded.links.add(
            trace_id=link.trace_id.to_bytes(16, "big"),
            span_id=link.span_id.to_bytes(8, "big"),
            trace_state=link.state,
            flags=_FLAGS | _REMOTE if link.sampled else _REMOTE,
        )
    for time, name, attributes in span.events:
        encoded.events.add(time_unix_nano=time, name=name, attributes=pairs(attributes))
    if span.error is not None:
        encoded.status.code = _ERROR
        encoded.status.message = span.error
    return encoded
