"""`wfctl events`."""

from __future__ import annotations

import click

from wfctl import output, tables
from wfctl.cli import Verb, with_settings
from wfctl.settings import Settings


@click.command(cls=Verb)
@click.argument("workflow", default="")
@click.option("--follow", "-f", is_flag=True, help="Go on with new ones as they happen.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many past ones.")
@with_settings
def events(settings: Settings, workflow: str, *, follow: bool, limit: int) -> None:
    """Show what happened, the newest last."""
    from treadle.v1 import event_service_pb2
    from wfctl import rows
    from wfctl.client import Client
    from wfctl.lines import event_line

    listing = event_service_pb2.ListEventsRequest(namespace=settings.namespace, workflow=workflow)
    with Client(settings) as client:
        answer = client.call_all(client.events.ListEvents, listing)
        newest = sorted(answer.events, key=lambda event: event.sequence)[-limit:]
        del answer.events[:]
        answer.events.extend(newest)
        if not follow:
            output.show(answer, rows.events(newest), settings)
            return
        tables.show(rows.events(newest), settings)
        request = event_service_pb2.StreamEventsRequest(
            namespace=settings.namespace, workflow=workflow, after_sequence=newest[-1].sequence if newest else 0
        )
        for happened in client.stream(client.events.StreamEvents, request):
            as_json = settings.output == "json"
            click.echo(output.to_json(happened.event, indent=None) if as_json else event_line(happened.event))
