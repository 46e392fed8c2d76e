"""`wfctl why`."""

from __future__ import annotations

import click

from wfctl import output
from wfctl.cli import Verb, target, with_settings
from wfctl.errors import BadUsage
from wfctl.settings import Settings
from wfctl.text import clean


@click.command(cls=Verb)
@click.argument("loop", metavar="WORKFLOW/LOOP")
@with_settings
def why(settings: Settings, loop: str) -> None:
    """Say in one sentence why a loop does not run, lags or waits."""
    from treadle.v1 import loop_service_pb2
    from wfctl.client import Client

    workflow, name = target(loop)
    if not name:
        raise BadUsage(f"{loop!r} names a workflow; write WORKFLOW/LOOP (wfctl get loops lists them)")
    request = loop_service_pb2.ExplainLoopRequest(namespace=settings.namespace, workflow=workflow, loop=name)
    with Client(settings) as client:
        answer = client.call(client.loops.ExplainLoop, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(clean(answer.sentence))
