"""Log records of nodes on their way to the supervisor: bounded, and never in the way of a loop."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from treadle.queues.tenure import LoopKey
from treadle_agent.frames import Address, Line, Lines

MAX_LINES: Final = 1_000  # kept between two collections; what comes on top is counted and dropped
MAX_LENGTH: Final = 8 * 1024


class LineCollector(logging.Handler):
    """A logging handler that keeps lines until they are collected. `run_of` finds the run of a loop, 0 for none."""

    def __init__(self, run_of: Callable[[Address], int]) -> None:
        super().__init__()
        self._run_of = run_of
        self._lines: deque[Line] = deque()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        self._lines.append(
            Line(self._run(record), record.created, record.levelname, getattr(record, "node", ""), self._text(record))
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
        """Nodes log through `context.logger`, whose records name their loop; whatever else logs is the host's."""
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


def text_of(text: str, limit: int, *, end: bool = False) -> str:
    """Return the beginning of a text, or its end, in a form that travels: lone surrogates do not."""
    if len(text) > limit:
        text = "..." + text[-limit:] if end else text[:limit] + "..."
    return text.encode("utf-8", "replace").decode()
