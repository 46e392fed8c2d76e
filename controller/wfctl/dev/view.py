"""What `wfctl dev` and `wfctl top` show while they run: a live picture on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import click

from wfctl import rows, tables
from wfctl.dev import snapshot
from wfctl.dev.snapshot import Snapshot
from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from rich.console import RenderableType

_LOG_LINES: Final = 10
_FIGURES_S: Final = 5.0


class View(Protocol):
    """Shows snapshots, and lines between them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def show(self, now: Snapshot) -> None:
        """Show how things are."""

    def say(self, lines: Iterable[str]) -> None:
        """Show what happened, or what a node logged."""


def choose(settings: Settings, title: str) -> View:
    """Return the live view when the output is a terminal, else the plain one."""
    terminal = sys.stdout.isatty()
    return LiveView(settings, title) if terminal and settings.output in {"table", "wide"} else PlainView()


class PlainView:
    """A line for each change of state, and one with the figures every few seconds."""

    def __init__(self) -> None:
        self._before = Snapshot()
        self._next_figures = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def show(self, now: Snapshot) -> None:
        """Print what changed, and now and then the figures."""
        self.say(snapshot.changed(self._before, now))
        self._before = now
        if now.loops and time.monotonic() >= self._next_figures:
            self._next_figures = time.monotonic() + _FIGURES_S
            self.say([snapshot.figures(now)])

    def say(self, lines: Iterable[str]) -> None:
        """Print lines, each with the time of day."""
        for line in lines:
            click.echo(f"{time.strftime('%H:%M:%S')} {clean(line)}")


class LiveView:
    """Tables of loops and queues, redrawn in place, and the last lines below them."""

    def __init__(self, settings: Settings, title: str) -> None:
        from rich.live import Live

        self._title = title
        self._wide = settings.output == "wide"
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._now = Snapshot()
        self._live = Live(console=tables.console(settings), auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._live.__exit__(kind, exc, tb)

    def show(self, now: Snapshot) -> None:
        """Redraw."""
        self._now = now
        self._live.update(self._drawn(), refresh=True)

    def say(self, lines: Iterable[str]) -> None:
        """Keep the last lines for the next drawing."""
        self._lines.extend(clean(line) for line in lines)

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [Text(self._title, style="bold"), Text()]
        parts.append(tables.rich_table(rows.loops(self._now.loops), wide=self._wide))
        shown = [queue for queue in self._now.queues if self._wide or not queue.hidden]
        if shown:
            parts += [Text(), tables.rich_table(rows.queues(shown), wide=self._wide)]
        if self._lines:
            parts += [Text(), *(Text(line, style="bright_black", no_wrap=True) for line in self._lines)]
        return Group(*parts)
