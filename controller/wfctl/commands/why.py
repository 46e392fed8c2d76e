"""`wfctl why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wfctl import output
from wfctl.cli import Verb, target, with_settings
from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from treadle.v1 import loop_service_pb2


@click.command(cls=Verb)
@click.argument("what", metavar="WORKFLOW[/LOOP]")
@with_settings
def why(settings: Settings, what: str) -> None:
    """Say in one sentence why a loop does not run, lags or waits, and show what that rests on.

    Of a workflow, the loop that has most to tell is told about.
    """
    from treadle.v1 import loop_service_pb2
    from wfctl.client import Client

    workflow, name = target(what)
    request = loop_service_pb2.ExplainLoopRequest(namespace=settings.namespace, workflow=workflow, loop=name)
    with Client(settings) as client:
        answer = client.call(client.loops.ExplainLoop, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    elif settings.output == "name":
        click.echo(clean(f"loop/{answer.loop}"))
    else:
        _say(answer)


def _say(answer: loop_service_pb2.ExplainLoopResponse) -> None:
    click.echo(clean(answer.sentence))
    facts = [(one.subject, one.fact) for one in answer.evidence]
    if answer.fix:
        facts.append(("to do", answer.fix))
    width = max((len(subject) for subject, _ in facts), default=0)
    for subject, fact in facts:
        click.echo(clean(f"  {subject:<{width}}  {fact}"))
