"""`wfctl logs`."""

from __future__ import annotations

import click

from wfctl import output
from wfctl.cli import DURATION, Verb, target, with_settings
from wfctl.settings import Settings


@click.command(cls=Verb)
@click.argument("what", metavar="WORKFLOW[/LOOP]")
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--for", "listen", type=DURATION, default="5s", show_default=True, help="How long, without -f.")
@with_settings
def logs(settings: Settings, what: str, *, follow: bool, listen: float) -> None:
    """Show what nodes log and print from now on; lines are sent as they come, and kept by nobody."""
    from treadle.v1 import event_service_pb2
    from wfctl.client import Client
    from wfctl.lines import log_line

    workflow, loop = target(what)
    request = event_service_pb2.StreamLogsRequest(namespace=settings.namespace, workflow=workflow, loop=loop)
    with Client(settings) as client:
        for answer in client.stream(client.events.StreamLogs, request, timeout_s=None if follow else listen):
            for line in answer.lines:
                as_json = settings.output == "json"
                click.echo(output.to_json(line, indent=None) if as_json else log_line(line, color=settings.color))
            if answer.dropped:
                output.hint(f"{answer.dropped} lines were dropped: they came faster than they could be sent")
