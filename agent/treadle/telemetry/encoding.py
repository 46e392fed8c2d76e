"""What all signals have in common in OpenTelemetry's wire format: attributes and resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource


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
            return AnyValue(string_value=clean(value))
        case bool():
            return AnyValue(bool_value=value)
        case int() if -(2**63) <= value < 2**63:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=clean(str(value)))


def clean(text: str) -> str:
    """Return a text that can be written as UTF-8: file names, say, may hold halves of characters."""
    return text if text.isascii() else text.encode(errors="replace").decode()
