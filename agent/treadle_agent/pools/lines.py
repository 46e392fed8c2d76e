"""Log records of nodes on their way to the supervisor: bounded, and never in the way of a loop."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from treadle.queues.tenure import LoopKey
from treadle.redaction import redacted
from treadle_agent.frames import Address, Line, Lines

MAX_LINES: Final = 1_000  # kept between two collections; what comes on top is counted and dropped
MAX_LENGTH: Final = 8 * 1024


class Place(NamedTuple):
    """What a thread or task is doing: which run, which of its nodes, which attempt. Run 0: it is no loop's."""

    run: int = 0
    node: str = ""
    attempt: int = 0


NOWHERE: Final = Place()


class LineCollector(logging.Handler):
    """A logging handler that keeps lines until they are collected. `run_of` finds the run of a loop, 0 for none.

    `here` says what the calling thread or task is doing: so loops own what libraries log for their nodes.
    """

    def __init__(self, run_of: Callable[[Address], int], here: Callable[[], Place]) -> None:
        super().__init__()
        self._run_of = run_of
        self._here = here
        self._lines: deque[Line] = deque()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        place, (trace_id, span_id) = self._here(), _span()
        self._lines.append(
            Line(
                self._run(record) or place.run,
                record.created,
                record.levelname,
                getattr(record, "node", place.node),
                self._text(record),
                place.attempt,
                trace_id,
                span_id,
                "" if record.name == "treadle.node" else text_of(str(record.name), 128),
            )
        )

    def printed(self, run: int, text: str) -> None:
        """Keep a line that a loop printed."""
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        self._lines.append(Line(run, time.time(), "INFO", "", text_of(text, MAX_LENGTH)))

    def collect(self) -> Lines | None:
        """Return what came since the last time."""
        if not (self._lines or self._dropped):
            return None
        count = len(self._lines)
        dropped, self._dropped = self._dropped, 0
        return Lines([self._lines.popleft() for _ in range(count)], dropped)

    def _run(self, record: logging.LogRecord) -> int:
        """Nodes that log through `context.logger` name their loop; what logs otherwise does not."""
        try:
            key = LoopKey(record.workflow, record.loop, record.replica)  # type: ignore[attr-defined]
            return self._run_of(Address(record.namespace, key))  # type: ignore[attr-defined]
        except AttributeError:
            return 0

    def _text(self, record: logging.LogRecord) -> str:
        try:
            return text_of(self.format(record), MAX_LENGTH)
        except Exception as exc:  # noqa: BLE001 - arguments that don't fit a format raise what they like
            return text_of(f"{record.msg!r} can't be formatted: {exc!r}", MAX_LENGTH)


def _span() -> tuple[str, str]:
    """Return the ids of the span that is current here; nothing is if OpenTelemetry was never loaded."""
    trace = sys.modules.get("opentelemetry.trace")
    context = None if trace is None else trace.get_current_span().get_span_context()
    if context is None or not context.is_valid:
        return "", ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def text_of(text: str, limit: int, *, end: bool = False) -> str:
    """Return the beginning of a text, or its end, in a form that may travel: without secrets and lone surrogates."""
    text = redacted(text)
    if len(text) > limit:
        text = "..." + text[-limit:] if end else text[:limit] + "..."
    return text.encode("utf-8", "replace").decode()
