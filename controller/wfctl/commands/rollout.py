"""`wfctl rollout`: revisions of a workflow."""

from __future__ import annotations

import click

from wfctl import output
from wfctl.cli import DURATION, VerbGroup, with_settings
from wfctl.settings import Settings


@click.group(cls=VerbGroup)
def rollout() -> None:
    """Look at the revisions of a workflow."""


@rollout.command()
@click.argument("workflow")
@with_settings
def history(settings: Settings, workflow: str) -> None:
    """List the revisions of a workflow, the newest last."""
    from treadle.v1 import workflow_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    request = workflow_service_pb2.ListRevisionsRequest(namespace=settings.namespace, workflow=workflow)
    with Client(settings) as client:
        answer = client.call_all(client.workflows.ListRevisions, request)
    output.show(answer, rows.revisions(sorted(answer.revisions, key=lambda item: item.number)), settings)


@rollout.command()
@click.argument("workflow")
@click.option("--wait-timeout", type=DURATION, default="60s", show_default=True, help="How long to wait.")
@with_settings
def status(settings: Settings, workflow: str, wait_timeout: float) -> None:
    """Wait until all loops of a workflow run as its newest revision says."""
    from wfctl import rows, waiting
    from wfctl.client import Client

    with Client(settings) as client:
        seen = waiting.until(client, workflow, waiting.is_healthy, timeout_s=wait_timeout)
    output.show(seen, rows.loops(seen.loops), settings)
