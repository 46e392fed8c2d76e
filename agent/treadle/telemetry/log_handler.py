"""Hands what a program itself logs, through Python's `logging`, to telemetry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Final

from treadle.telemetry import conventions as c
from treadle.telemetry.record import LogRecord

_PLAIN: Final = logging.Formatter()
# What is said beside a message (`extra`) and has a name in telemetry too.
_NAMES: Final = {"namespace": c.NAMESPACE, "workflow": c.WORKFLOW, "loop": c.LOOP, "node": c.NODE, "agent": c.AGENT}


class TelemetryHandler(logging.Handler):
    """`take` gets a record each, from any thread, and must not wait. `besides` are loggers that are told otherwise."""

    def __init__(self, take: Callable[[LogRecord], None], besides: Collection[str] = ()) -> None:
        super().__init__()
        self._take = take
        self._besides = frozenset(besides)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name in self._besides:
            return
        try:
            self._take(_of(record))
        except Exception:  # noqa: BLE001 - arguments that don't fit a format raise what they like
            self.handleError(record)


def _of(record: logging.LogRecord) -> LogRecord:
    said: dict[str, Any] = vars(record)
    attributes: dict[str, Any] = {name: str(said[key]) for key, name in _NAMES.items() if key in said}
    if record.exc_info and record.exc_info[0] is not None:
        attributes[c.EXCEPTION_TYPE] = record.exc_info[0].__qualname__
        attributes[c.EXCEPTION_MESSAGE] = str(record.exc_info[1])
        attributes[c.EXCEPTION_STACKTRACE] = _PLAIN.formatException(record.exc_info)
    ids = (int(said.get(key) or "0", 16) for key in ("trace_id", "span_id"))
    return LogRecord(record.created, record.levelname, record.getMessage(), attributes, *ids)
