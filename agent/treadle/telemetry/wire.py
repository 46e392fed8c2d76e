"""OpenTelemetry's wire format written by hand: fields, texts and attributes, which are written once and kept.

Through protobuf's classes what there is much of, spans and data points, takes five times as long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from treadle.telemetry.encoding import any_value, clean

# Tags: the number of a field, and that it has a length.
FIRST, SECOND, THIRD = b"\x0a", b"\x12", b"\x1a"
_KEPT: Final = 2_048


def field(tag: bytes, content: bytes) -> bytes:
    """Return a field with a length."""
    return tag + varint(len(content)) + content


@lru_cache(_KEPT)
def text(tag: bytes, content: str) -> bytes:
    """Return a field with a text, one that comes again."""
    return field(tag, clean(content).encode())


def attribute(tag: bytes, key: str, value: Any) -> bytes:
    """Return an attribute, one that won't come again."""
    if type(value) is str:
        return field(tag, text(FIRST, key) + field(SECOND, field(FIRST, clean(value).encode())))
    return field(tag, KeyValue(key=key, value=any_value(value)).SerializeToString())


# Typed: 1, 1.0 and True are equal, and not the same here.
kept_attribute: Final = lru_cache(_KEPT, typed=True)(attribute)


def varint(number: int) -> bytes:
    """Return a number that is not negative."""
    if number < 0x80:
        return number.to_bytes(1)
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
