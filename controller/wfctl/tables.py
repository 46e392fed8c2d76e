"""Tables: what a list of things looks like to people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table as RichTable
    from rich.text import Text

STYLES: Final = {
    "RUNNING": "green",
    "READY": "green",
    "HEALTHY": "green",
    "COMPLETED": "cyan",
    "PENDING": "yellow",
    "ASSIGNED": "yellow",
    "STARTING": "yellow",
    "DRAINING": "yellow",
    "BACKOFF": "yellow",
    "DISCONNECTED": "yellow",
    "ERROR": "bold red",
    "FAILING": "bold red",
    "LOST": "bold red",
}
_NAME_WIDTH: Final = 40  # so much of a name is always shown
_RIGHT: Final = frozenset(
    "RATE/S COMMITTED ERRORS REPLICAS REVISION EPOCH RESTARTS PID DEPTH BYTES CLAIMED DEAD PUSHED AGE "
    "EXECUTIONS FAILURES NUMBER LOOPS IN-FLIGHT INCARNATION P50 P99".split()
)


@dataclass(slots=True)
class Table:
    """Rows under named columns; the columns from `wide` on are shown with `-o wide` only."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # what `-o name` prints, a line each row
    wide: int | None = None

    def add(self, name: str, *cells: object) -> None:
        """Append a row; its cells may come from anywhere, and are made harmless here."""
        self.names.append(clean(name))
        self.rows.append(tuple(clean(str(cell)) for cell in cells))


def console(settings: Settings, *, err: bool = False) -> Console:
    """Return a rich console that colours what the settings allow, and never wraps into a pipe."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    plain = settings.color is False or not stream.isatty()
    return Console(
        file=stream, no_color=plain, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else 400
    )


def show(table: Table, settings: Settings) -> None:
    """Print a table, or its names."""
    if settings.output == "name":
        for name in table.names:
            click.echo(name)
        return
    if not table.rows:
        click.echo("nothing to show", err=True)
        return
    console(settings).print(rich_table(table, wide=settings.output == "wide"))


def rich_table(table: Table, *, wide: bool = False) -> RichTable:
    """Return the table in rich's form."""
    from rich.table import Table as RichTable

    shown = len(table.columns) if wide or table.wide is None else table.wide
    drawn = RichTable(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    name_width = max((len(row[0]) for row in table.rows), default=0)
    for at, column in enumerate(table.columns[:shown]):
        # On a narrow terminal other columns give way: what is shown is of no use without its name.
        least = None if at else min(name_width, _NAME_WIDTH)
        justify: JustifyMethod = "right" if column in _RIGHT else "left"
        drawn.add_column(column, justify=justify, no_wrap=column != "REASON", min_width=least)
    for row in table.rows:
        drawn.add_row(*_styled(row[:shown]))
    return drawn


def _styled(cells: Sequence[str]) -> list[Text]:
    from rich.text import Text

    return [Text(cell, style=STYLES.get(cell, "")) for cell in cells]
