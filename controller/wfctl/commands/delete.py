"""`wfctl delete`."""

from __future__ import annotations

import click

from wfctl import output
from wfctl.cli import DURATION, VerbGroup, with_settings
from wfctl.settings import Settings


@click.group(cls=VerbGroup)
def delete() -> None:
    """Remove things."""


@delete.command()
@click.argument("name")
@click.option("--with-queues", is_flag=True, help="Remove its queues and their messages too.")
@click.option("--detach", is_flag=True, help="Do not wait until it has drained.")
@click.option("--wait-timeout", type=DURATION, default="60s", show_default=True, help="How long to wait.")
@with_settings
def workflow(settings: Settings, name: str, *, with_queues: bool, detach: bool, wait_timeout: float) -> None:
    """Remove a workflow; its loops drain first, its queues stay unless told otherwise."""
    from treadle.v1 import workflow_service_pb2
    from wfctl import waiting
    from wfctl.client import Client

    request = workflow_service_pb2.DeleteWorkflowRequest(
        namespace=settings.namespace, name=name, with_queues=with_queues
    )
    with Client(settings) as client:
        answer = client.call(client.workflows.DeleteWorkflow, request)
        if not detach:
            waiting.until_gone(client, name, timeout_s=wait_timeout)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(f"workflow/{name}" if settings.output == "name" else f"workflow/{name} deleted")
