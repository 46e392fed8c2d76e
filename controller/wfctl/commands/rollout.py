"""`wfctl rollout`: revisions of a workflow, what became of them, and going back."""

from __future__ import annotations

import uuid

import click

from wfctl import output
from wfctl.cli import DURATION, VerbGroup, with_settings
from wfctl.settings import Settings


@click.group(cls=VerbGroup)
def rollout() -> None:
    """Look at the revisions of a workflow, and go back to one."""


@rollout.command()
@click.argument("workflow")
@with_settings
def history(settings: Settings, workflow: str) -> None:
    """List the revisions of a workflow and what became of each, the newest last."""
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
    """Wait until all loops of a workflow run as its newest revision says. Exit code 6: it is not healthy."""
    from treadle.v1 import workflow_service_pb2
    from wfctl import rollouts, rows
    from wfctl.client import Client

    request = workflow_service_pb2.GetWorkflowRequest(namespace=settings.namespace, name=workflow)
    with Client(settings) as client:
        found = client.call(client.workflows.GetWorkflow, request).workflow
        seen = rollouts.until_healthy(client, found, wait_timeout)
        output.hint(rows.rollout(seen.rollout))
    output.show(seen, rows.loops(seen.loops), settings)


@rollout.command()
@click.argument("workflow")
@click.option("--to", "number", type=click.IntRange(1), default=None, help="Which; else the last healthy one before.")
@click.option("--if-revision", type=click.IntRange(1), default=None, help="Only from this revision.")
@click.option("--detach", is_flag=True, help="Do not wait until all loops are healthy.")
@click.option("--wait-timeout", type=DURATION, default="60s", show_default=True, help="How long to wait.")
@with_settings
def undo(
    settings: Settings, workflow: str, *, number: int | None, if_revision: int | None, detach: bool, wait_timeout: float
) -> None:
    """Apply an older revision again, as a new one."""
    from treadle.v1 import workflow_service_pb2
    from wfctl import rollouts, rows
    from wfctl.client import Client

    request = workflow_service_pb2.UndoRolloutRequest(
        namespace=settings.namespace,
        workflow=workflow,
        to_revision=number or 0,
        if_revision=if_revision,
        request_id=str(uuid.uuid4()),
    )
    with Client(settings) as client:
        answer = client.call(client.workflows.UndoRollout, request)
        output.show(answer, rows.changes(answer.changes, workflow, placement=False), settings)
        if not detach:
            rollouts.until_healthy(client, answer.workflow, wait_timeout)
