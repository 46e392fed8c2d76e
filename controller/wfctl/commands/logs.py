"""`wfctl logs`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from wfctl import output
from wfctl.cli import DURATION, Verb, target, with_settings
from wfctl.settings import Settings

if TYPE_CHECKING:
    from treadle.v1 import event_service_pb2

LEVELS: Final = ("debug", "info", "warning", "error", "critical")


@click.command(cls=Verb)
@click.argument("what", metavar="WORKFLOW[/LOOP]")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--since", type=DURATION, default="10m", show_default=True, help="How far back; 0 for new lines only.")
@click.option("--for", "listen", type=DURATION, default=None, metavar="DURATION", help="Go on for so long.")
@click.option("--node", default="", metavar="NODE", help="Only lines of this node.")
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), default=None, help="This and above.")
@with_settings
def logs(
    settings: Settings, what: str, *, follow: bool, since: float, listen: float | None, node: str, level: str | None
) -> None:
    """Show what nodes logged and printed lately, as far as the agents still have it, and what they do now.

    Agents keep the last 2,000 lines of all their loops. Lines that come too fast are dropped, which is said: no
    loop ever waits for a reader.
    """
    from google.protobuf.timestamp_pb2 import Timestamp

    from treadle.v1 import event_service_pb2
    from wfctl.client import Client

    workflow, loop = target(what)
    request = event_service_pb2.StreamLogsRequest(
        namespace=settings.namespace, workflow=workflow, loop=loop, node=node, level=(level or "").upper()
    )
    if since:
        stamp = Timestamp()
        stamp.FromMicroseconds(max(0, round((time.time() - since) * 1e6)))
        request.since_time.CopyFrom(stamp)
    limit_s = listen if listen is not None else None if follow else settings.timeout_s
    with Client(settings) as client:
        for answer in client.stream(client.events.StreamLogs, request, timeout_s=limit_s):
            _show(settings, answer)
            if answer.caught_up and not follow and listen is None:
                return


def _show(settings: Settings, answer: event_service_pb2.StreamLogsResponse) -> None:
    from wfctl.lines import log_line

    for line in sorted(answer.lines, key=lambda line: (line.time.seconds, line.time.nanos)):
        as_json = settings.output == "json"
        click.echo(output.to_json(line, indent=None) if as_json else log_line(line, color=settings.color))
    if answer.dropped:
        output.hint(f"{answer.dropped} lines were dropped: they came faster than they could be sent")
