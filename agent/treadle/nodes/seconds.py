"""Durations in node parameters: numbers (seconds) or strings like "200ms", "5s", "10m", "1h"."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

from treadle.workflow.quantities import duration_s

_SCHEMA: Final = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s?(us|ms|s|m|h|d)$"},
    ]
}


def _parse(value: Any) -> float:
    seconds = duration_s(value)
    if seconds is None:
        raise ValueError(f"{value!r} is no duration: use seconds or a string like '200ms', '5s', '10m', '1h'")
    return seconds


Seconds = Annotated[float, BeforeValidator(_parse), WithJsonSchema(_SCHEMA)]
