"""Spans in OpenTelemetry's wire format, written by hand.

Through protobuf's classes a span takes five times as long, and with spans that is most of what a trace costs. What one
span has in common with the next, names and nearly all attributes, is written once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import any_value, clean, pairs

if TYPE_CHECKING:
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    from treadle.telemetry.origin import Origin
    from treadle.telemetry.span import Span

_SAMPLED: Final = 0x1
_KNOWN: Final = 0x100  # whether it is remote
_REMOTE: Final = _KNOWN | 0x200
_KEPT: Final = 2_048  # names and attributes
_UNIQUE: Final = frozenset({c.MESSAGING_MESSAGE_ID, c.ITERATION})  # not worth keeping: no other span has the same

# Tags: the number of a field and its type.
_TIMES: Final = Struct("<cQcQ")  # start_time_unix_nano, end_time_unix_nano
_FLAG: Final = Struct("<I")
_TRACE_ID, _SPAN_ID, _STATE, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x1a", b"\x22\x08"
_NAME, _KIND, _ATTRIBUTE, _EVENT, _LINK = b"\x2a", b"\x30", b"\x4a", b"\x5a", b"\x6a"
_STATUS, _SPAN_FLAGS, _LINK_FLAGS = b"\x7a", b"\x85\x01", b"\x35"
_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"  # of the messages around spans


def encode_spans(spans: Iterable[Span], resource: Resource) -> bytes:
    """Return an export request for spans. Requests that are put together end to end are one request."""
    scope = _field(_FIRST, InstrumentationScope(name=c.SCOPE).SerializeToString())
    encoded = b"".join([_field(_SECOND, _encoded(span)) for span in spans])
    schema = _field(_THIRD, c.SCHEMA_URL.encode())
    of_resource = _field(_FIRST, resource.SerializeToString()) + _field(_SECOND, scope + encoded + schema) + schema
    return _field(_FIRST, of_resource)


def _encoded(span: Span) -> bytes:
    parts = [_TRACE_ID, span.trace_id.to_bytes(16, "big"), _SPAN_ID, span.span_id.to_bytes(8, "big")]
    if span.state:
        parts.append(_text(_STATE, span.state))
    if span.parent_id:
        parts += _PARENT_ID, span.parent_id.to_bytes(8, "big")
    parts += _text(_NAME, span.name), _KIND, _varint(span.kind), _TIMES.pack(b"\x39", span.start, b"\x41", span.end)
    parts += [
        _attribute(key, value) if key in _UNIQUE else _kept_attribute(key, value)
        for key, value in span.attributes.items()
    ]
    parts += [_field(_EVENT, _event(*event)) for event in span.events]
    parts += [_field(_LINK, _link(link)) for link in span.links]
    if span.error is not None:
        status = trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=clean(span.error))
        parts.append(_field(_STATUS, status.SerializeToString()))
    parts += _SPAN_FLAGS, _FLAG.pack(_SAMPLED | (_REMOTE if span.remote_parent else _KNOWN))
    return b"".join(parts)


def _event(time: int, name: str, attributes: dict[str, Any]) -> bytes:
    return trace_pb2.Span.Event(time_unix_nano=time, name=name, attributes=pairs(attributes)).SerializeToString()


def _link(link: Origin) -> bytes:
    ids = _TRACE_ID + link.trace_id.to_bytes(16, "big") + _SPAN_ID + link.span_id.to_bytes(8, "big")
    state = _text(_STATE, link.state) if link.state else b""
    return ids + state + _LINK_FLAGS + _FLAG.pack(_REMOTE | link.sampled)


def _attribute(key: str, value: Any) -> bytes:
    if type(value) is str:
        return _field(_ATTRIBUTE, _text(_FIRST, key) + _field(_SECOND, _field(_FIRST, clean(value).encode())))
    return _field(_ATTRIBUTE, KeyValue(key=key, value=any_value(value)).SerializeToString())


# Typed: 1, 1.0 and True are equal, and not the same here.
_kept_attribute: Final = lru_cache(_KEPT, typed=True)(_attribute)


@lru_cache(_KEPT)
def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, clean(text).encode())


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < 0x80:
        return number.to_bytes(1)
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
