"""One line for an event, and one for a log line."""

from __future__ import annotations

import click

from treadle.v1 import event_pb2
from wfctl import rows
from wfctl.text import clean

_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "bright_black"}


def event_line(event: event_pb2.Event) -> str:
    """Return an event as one line."""
    actor = f" (by {event.actor})" if event.actor else ""
    return clean(f"{rows.clock(event.time)} {event.kind} {event.name} {event.code}: {event.message}{actor}")


def log_line(line: event_pb2.LogLine, *, color: bool | None = None, when: bool = True) -> str:
    """Return what a node logged as one line, by default with the time; colour is for the level."""
    level = line.level.upper() or "INFO"
    head = f"{rows.clock(line.time)} {line.workflow}/{line.loop}" if when else f"{line.workflow}/{line.loop}"
    node = f" {line.node}" if line.node else ""
    word = level if color is False else click.style(level, fg=_COLORS.get(level))
    return f"{clean(head + node)} {word} {clean(line.message, lines=False)}"
