"""`wfctl top`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from wfctl import output, tables
from wfctl.cli import DURATION, Verb, target, with_settings
from wfctl.errors import BadUsage, NotFound
from wfctl.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wfctl.client import Client
    from wfctl.watching import Lens, Look

# Those of wfctl.watching, which imports the API: help does not need that.
SORTS: Final = ("rate", "lag", "errors", "blocked", "committed", "name", "state")
_KEYS: Final = "arrows choose, Enter opens, Esc closes, s sorts, r turns round, e shows trouble only, q ends"
_FASTEST_S: Final = 0.1


@click.command(cls=Verb)
@click.argument("what", metavar="[WORKFLOW[/LOOP]]", default="")
@click.option("--once", is_flag=True, help="Print the figures once and end.")
@click.option("--every", type=DURATION, default="1s", show_default=True, help="How often to look.")
@click.option("--sort", type=click.Choice(SORTS), default="rate", show_default=True, help="What comes first.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--trouble", is_flag=True, help="Only loops that do not run, fail, or had errors.")
@click.option("--state", default="", metavar="STATE", help="Only loops in this state, such as BACKOFF.")
@with_settings
def top(settings: Settings, /, what: str, *, once: bool, every: float, **options: Any) -> None:
    """Show live what loops do: rates, how far they are behind, how long they were blocked, errors.

    WORKFLOW/LOOP shows the nodes of a loop and the share of its time that each takes. When the output is no
    terminal, everything is printed once.
    """
    from wfctl.client import Client
    from wfctl.watching import Lens

    if every < _FASTEST_S:
        raise BadUsage(f"--every is at least {_FASTEST_S * 1000:.0f}ms")
    workflow, loop = target(what) if what else ("", "")
    lens = Lens(options["sort"], options["reverse"], options["trouble"], options["state"])
    lens = replace(lens, opened=what) if loop else lens
    live = sys.stdout.isatty() and not once and settings.output in {"table", "wide"}
    with Client(settings) as client:
        if live:
            _live(client, workflow, lens, every)
        else:
            _once(client, workflow, lens)


def _once(client: Client, workflow: str, lens: Lens) -> None:
    from treadle.v1 import loop_service_pb2
    from wfctl import rows, watching

    look, settings = _look(client, workflow), client.settings
    if lens.opened:
        found = _opened(look, lens)
        output.show(found, watching.nodes_table(found), settings)
        return
    loops = watching.chosen(look, lens)
    output.show(loop_service_pb2.ListLoopsResponse(loops=loops), watching.loops_table(look, None, lens), settings)
    if settings.output in {"table", "wide"} and look.queues:
        click.echo()
        tables.show(rows.queues(look.queues), settings)


def _live(client: Client, workflow: str, lens: Lens, every: float) -> None:
    from rich.live import Live

    from wfctl import watching
    from wfctl.keys import Keys

    before, look = None, _look(client, workflow)
    console = tables.console(client.settings)
    with Keys() as keys, Live(console=console, auto_refresh=False, screen=True) as shown:
        while not lens.over:
            shown.update(_drawn(client.settings, look, before, lens, console.size.height), refresh=True)
            due = look.at + every
            while (left := due - time.monotonic()) > 0 and not lens.over:
                key = keys.wait(left)
                if key:
                    lens = lens.press(key, [watching.name_of(loop) for loop in watching.chosen(look, lens)])
                    shown.update(_drawn(client.settings, look, before, lens, console.size.height), refresh=True)
            if not lens.over:
                before, look = look, _look(client, workflow)


def _drawn(settings: Settings, look: Look, before: Look | None, lens: Lens, height: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from wfctl import rows, watching

    order = f"by {lens.sort}{', turned round' if lens.backwards else ''}{', trouble only' if lens.troubled else ''}"
    head = f"wfctl top  {settings.address}  namespace {settings.namespace}  {order}"
    parts: list[RenderableType] = [Text(head, style="bold", no_wrap=True), Text(_KEYS, style="bright_black"), Text()]
    if lens.opened:
        found = next((loop for loop in look.loops if watching.name_of(loop) == lens.opened), None)
        if found is None:
            return Group(*parts, Text(f"{lens.opened} is gone"))
        facts = f"{lens.opened}  {rows.loop_state(found.state)}  {watching.doing(found)}"
        return Group(*parts, Text(facts), Text(), tables.rich_table(watching.nodes_table(found)))
    table = watching.loops_table(look, before, lens)
    room = max(1, height - len(parts) - 1)
    first = max(0, min(lens.mark - room // 2, len(table.rows) - room))
    part = tables.Table(table.columns, table.rows[first : first + room], table.names[first : first + room])
    drawn = tables.rich_table(part)
    if part.rows:
        drawn.rows[min(lens.mark - first, len(part.rows) - 1)].style = "reverse"
    return Group(*parts, drawn)


def _look(client: Client, workflow: str) -> Look:
    from treadle.v1 import loop_service_pb2, queue_service_pb2
    from wfctl.watching import Look

    namespace = client.settings.namespace
    loops = loop_service_pb2.ListLoopsRequest(namespace=namespace, workflow=workflow)
    queues = queue_service_pb2.ListQueuesRequest(namespace=namespace, workflow=workflow)
    return Look(
        time.monotonic(),
        tuple(client.call_all(client.loops.ListLoops, loops).loops),
        tuple(client.call_all(client.queues.ListQueues, queues).queues),
    )


def _opened(look: Look, lens: Lens) -> Any:
    from wfctl import watching

    found = next((loop for loop in look.loops if watching.name_of(loop) == lens.opened), None)
    if found is None:
        raise NotFound(f"there is no loop {lens.opened!r}; see: wfctl get loops")
    return found
