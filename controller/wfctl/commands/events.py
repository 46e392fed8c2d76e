"""`wfctl events`."""

from __future__ import annotations

import time
from typing import Final

import click

from wfctl import output, tables
from wfctl.cli import DURATION, Verb, with_settings
from wfctl.settings import Settings

KINDS: Final = ("workflow", "loop", "agent", "queue", "controller")


@click.command(cls=Verb)
@click.argument("what", metavar="[WORKFLOW[/LOOP]]", default="")
@click.option("--watch", "--follow", "-w", "-f", "watch", is_flag=True, help="Go on with new ones as they happen.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many past ones.")
@click.option("--since", type=DURATION, default=None, metavar="DURATION", help="How far back.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only about such things.")
@click.option("--name", default="", metavar="NAME", help="Only about one thing, such as an agent.")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only such, as in loop-failed.")
@click.option("--actor", default="", metavar="WHO", help="Only by whoever has this in the name.")
@with_settings
def events(  # noqa: PLR0913 - each filter is an option
    settings: Settings,
    what: str,
    *,
    watch: bool,
    limit: int,
    since: float | None,
    kinds: tuple[str, ...],
    name: str,
    codes: tuple[str, ...],
    actor: str,
) -> None:
    """Show what happened, why and by whose doing, the newest last.

    The controller keeps the last 10,000 events.
    """
    from google.protobuf.timestamp_pb2 import Timestamp

    from treadle.v1 import event_service_pb2
    from wfctl import rows
    from wfctl.client import Client
    from wfctl.lines import event_line

    workflow, slash, _ = what.partition("/")
    wanted = event_service_pb2.EventFilter(kinds=kinds, name=what if slash else name, codes=codes, actor=actor)
    if since is not None:
        stamp = Timestamp()
        stamp.FromMicroseconds(max(0, round((time.time() - since) * 1e6)))
        wanted.since_time.CopyFrom(stamp)
    listing = event_service_pb2.ListEventsRequest(namespace=settings.namespace, workflow=workflow, filter=wanted)
    with Client(settings) as client:
        answer = client.call_all(client.events.ListEvents, listing)
        newest = sorted(answer.events, key=lambda event: event.sequence)[-limit:]
        del answer.events[:]
        answer.events.extend(newest)
        if not watch:
            output.show(answer, rows.events(newest), settings)
            return
        for event in newest if settings.output == "json" else ():
            click.echo(output.to_json(event, indent=None))
        if settings.output != "json":
            tables.show(rows.events(newest), settings)
        request = event_service_pb2.StreamEventsRequest(
            namespace=settings.namespace,
            workflow=workflow,
            after_sequence=newest[-1].sequence if newest else 0,
            filter=wanted,
        )
        for happened in client.stream(client.events.StreamEvents, request):
            as_json = settings.output == "json"
            click.echo(output.to_json(happened.event, indent=None) if as_json else event_line(happened.event))
