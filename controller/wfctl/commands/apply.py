"""`wfctl apply`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from wfctl import documents, findings, output
from wfctl.cli import DURATION, Verb, with_settings
from wfctl.documents import Document
from wfctl.errors import BadUsage, Conflict, InvalidWorkflow, NotFound, WfctlError
from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from treadle.v1 import workflow_pb2, workflow_service_pb2
    from wfctl.client import Client


@click.command(cls=Verb)
@click.option("--filename", "-f", "files", multiple=True, required=True, metavar="FILE|DIR|-", help="What to apply.")
@click.option("--name", default=None, help="The workflow's name when the document has none.")
@click.option("--if-revision", type=click.IntRange(0), default=None, help="Only over this revision; 0: only if new.")
@click.option("--detach", is_flag=True, help="Do not wait until all loops are healthy.")
@click.option("--wait-timeout", type=DURATION, default="60s", show_default=True, help="How long to wait.")
@with_settings
def apply(
    settings: Settings,
    files: tuple[str, ...],
    *,
    name: str | None,
    if_revision: int | None,
    detach: bool,
    wait_timeout: float,
) -> int:
    """Make documents run: the same again changes nothing, a changed loop restarts alone."""
    from wfctl import rollouts
    from wfctl.client import Client

    given = documents.read(files, stem=name)
    if if_revision is not None and len(given) > 1:
        raise BadUsage("--if-revision is about one workflow; name one document")
    worst: WfctlError | None = None
    with Client(settings) as client:
        for document in given:
            try:
                answer = submit(client, document, if_revision=if_revision)
                show(answer, document, settings)
                if not detach:
                    rollouts.until_healthy(client, answer.workflow, wait_timeout)
            except WfctlError as exc:
                # The others are applied all the same: each workflow stands for itself.
                report(exc, document, settings)
                worst = exc if worst is None or exc.exit_code > worst.exit_code else worst
    return 0 if worst is None else worst.exit_code


def submit(
    client: Client, document: Document, *, if_revision: int | None = None
) -> workflow_service_pb2.ApplyWorkflowResponse:
    """Apply one document. Without `if_revision` a change in between is met by trying once more.

    Raises InvalidWorkflow with findings that name the file, Conflict, and what else the controller says.
    """
    from treadle.v1 import workflow_service_pb2

    for last in (False, True):
        revision = _current(client, document) if if_revision is None else if_revision
        request = workflow_service_pb2.ApplyWorkflowRequest(
            namespace=client.settings.namespace,
            name=document.stem,
            document=document.data,
            if_revision=revision,
            request_id=str(uuid.uuid4()),
        )
        try:
            return call(client, request, document)
        except Conflict:
            if last or if_revision is not None:
                raise
    raise AssertionError("unreachable")


def call(
    client: Client, request: workflow_service_pb2.ApplyWorkflowRequest, document: Document
) -> workflow_service_pb2.ApplyWorkflowResponse:
    """Call ApplyWorkflow; findings name the file."""
    try:
        return client.call(client.workflows.ApplyWorkflow, request)
    except InvalidWorkflow as exc:
        found = findings.of(document.source, _all(client, request) if _is_cut(exc) else exc.findings)
        raise InvalidWorkflow(exc.message, findings=found) from exc


def _is_cut(exc: InvalidWorkflow) -> bool:
    """Return whether the findings were more than an error can carry."""
    return any(item.code == "more-findings" for item in exc.findings)


def _all(client: Client, request: workflow_service_pb2.ApplyWorkflowRequest) -> Iterable[workflow_pb2.Finding]:
    from treadle.v1 import workflow_service_pb2

    again = workflow_service_pb2.ValidateWorkflowRequest(
        namespace=request.namespace, name=request.name, document=request.document
    )
    return client.call(client.workflows.ValidateWorkflow, again).findings


def report(exc: WfctlError, document: Document, settings: Settings) -> None:
    """Say what became of one document."""
    if isinstance(exc, InvalidWorkflow) and exc.findings:
        findings.show(exc.findings, settings)
    else:
        output.hint(f"wfctl: {document.source}: {exc.message}")


def _current(client: Client, document: Document) -> int | None:
    """Return the revision that a document would replace, 0 for none, None when its name is the controller's to find."""
    from treadle.v1 import workflow_service_pb2
    from wfctl.checking import name_of

    name = name_of(document)
    if name is None:
        return None
    request = workflow_service_pb2.GetWorkflowRequest(namespace=client.settings.namespace, name=name)
    try:
        return client.call(client.workflows.GetWorkflow, request).workflow.revision
    except NotFound:
        return 0


def show(
    answer: workflow_service_pb2.ApplyWorkflowResponse, document: Document, settings: Settings, *, err: bool = False
) -> None:
    """Print what became of each loop; with `err` among the progress."""
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
        return
    from wfctl import rows

    found = [item for item in findings.of(document.source, answer.findings) if item.severity != "info"]
    findings.show(found, settings, err=True)
    workflow = answer.workflow.name
    for item in answer.changes:
        name = f"{workflow}/{item.loop}"
        why = f" ({'; '.join(item.differences)})" if item.differences else ""
        line = f"loop/{name}" if settings.output == "name" else f"{name} {rows.change(item)}{why}"
        click.echo(clean(line), err=err)
    for queue in rows.changed_queues(answer):
        line = f"queue {queue.queue} changed ({'; '.join(queue.differences)})"
        click.echo(clean(f"queue/{queue.queue}" if settings.output == "name" else line), err=err)
