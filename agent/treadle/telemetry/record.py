"""One log record, as telemetry takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class LogRecord(NamedTuple):
    """One line. `time` is in seconds since the epoch; the ids are those of the span that it came from, 0 for none."""

    time: float
    level: str
    body: str
    attributes: Mapping[str, Any]
    trace_id: int = 0
    span_id: int = 0
