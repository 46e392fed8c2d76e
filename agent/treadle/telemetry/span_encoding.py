"""Spans in OpenTelemetry's wire format."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1 import trace_pb2

from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import clean, pairs
from treadle.telemetry.wire import FIRST, SECOND, THIRD, attribute, field, kept_attribute, text, varint

if TYPE_CHECKING:
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    from treadle.telemetry.origin import Origin
    from treadle.telemetry.span import Span

_SAMPLED: Final = 0x1
_KNOWN: Final = 0x100  # whether it is remote
_REMOTE: Final = _KNOWN | 0x200
_UNIQUE: Final = frozenset({c.MESSAGING_MESSAGE_ID, c.ITERATION})  # not worth keeping: no other span has the same

# Tags: the number of a field and its type.
_TIMES: Final = Struct("<cQcQ")  # start_time_unix_nano, end_time_unix_nano
_FLAG: Final = Struct("<I")
_TRACE_ID, _SPAN_ID, _STATE, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x1a", b"\x22\x08"
_NAME, _KIND, _ATTRIBUTE, _EVENT, _LINK = b"\x2a", b"\x30", b"\x4a", b"\x5a", b"\x6a"
_STATUS, _SPAN_FLAGS, _LINK_FLAGS = b"\x7a", b"\x85\x01", b"\x35"


def encode_spans(spans: Iterable[Span], resource: Resource) -> bytes:
    """Return an export request for spans. Requests that are put together end to end are one request."""
    scope = field(FIRST, InstrumentationScope(name=c.SCOPE).SerializeToString())
    encoded = b"".join([field(SECOND, _encoded(span)) for span in spans])
    schema = field(THIRD, c.SCHEMA_URL.encode())
    of_resource = field(FIRST, resource.SerializeToString()) + field(SECOND, scope + encoded + schema) + schema
    return field(FIRST, of_resource)


def _encoded(span: Span) -> bytes:
    parts = [_TRACE_ID, span.trace_id.to_bytes(16, "big"), _SPAN_ID, span.span_id.to_bytes(8, "big")]
    if span.state:
        parts.append(text(_STATE, span.state))
    if span.parent_id:
        parts += _PARENT_ID, span.parent_id.to_bytes(8, "big")
    parts += text(_NAME, span.name), _KIND, varint(span.kind), _TIMES.pack(b"\x39", span.start, b"\x41", span.end)
    parts += [
        attribute(_ATTRIBUTE, key, value) if key in _UNIQUE else kept_attribute(_ATTRIBUTE, key, value)
        for key, value in span.attributes.items()
    ]
    parts += [field(_EVENT, _event(*event)) for event in span.events]
    parts += [field(_LINK, _link(link)) for link in span.links]
    if span.error is not None:
        status = trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=clean(span.error))
        parts.append(field(_STATUS, status.SerializeToString()))
    parts += _SPAN_FLAGS, _FLAG.pack(_SAMPLED | (_REMOTE if span.remote_parent else _KNOWN))
    return b"".join(parts)


def _event(time: int, name: str, attributes: dict[str, Any]) -> bytes:
    return trace_pb2.Span.Event(time_unix_nano=time, name=name, attributes=pairs(attributes)).SerializeToString()


def _link(link: Origin) -> bytes:
    ids = _TRACE_ID + link.trace_id.to_bytes(16, "big") + _SPAN_ID + link.span_id.to_bytes(8, "big")
    state = text(_STATE, link.state) if link.state else b""
    return ids + state + _LINK_FLAGS + _FLAG.pack(_REMOTE | link.sampled)
