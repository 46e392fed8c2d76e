"""`wfctl diff` and `wfctl plan`: what apply would change, said before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wfctl import documents, findings, output
from wfctl.cli import Verb, with_settings
from wfctl.errors import BadUsage, InvalidWorkflow, NotPlaceable
from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from treadle.v1 import workflow_pb2, workflow_service_pb2


@click.command(cls=Verb)
@click.argument("file")
@click.option("--name", default=None, help="The workflow's name when the document has none.")
@with_settings
def diff(settings: Settings, file: str, *, name: str | None) -> int:
    """Say how a document differs in meaning from what runs. Exit code 0: not at all, 1: it does."""
    from wfctl import rows

    answer = _dry_run(settings, file, name)
    changed = _changed(answer)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        for item in changed:
            _show_change(f"{answer.workflow.name}/{item.loop}", item, settings)
        for queue in rows.changed_queues(answer):
            _show_change(f"queue {queue.queue}", queue, settings)
    return 1 if changed or rows.changed_queues(answer) else 0


@click.command(cls=Verb)
@click.argument("file")
@click.option("--name", default=None, help="The workflow's name when the document has none.")
@with_settings
def plan(settings: Settings, file: str, *, name: str | None) -> int:
    """Say what apply would do: per loop its change, whether it restarts, and where it would run."""
    from wfctl import rows

    answer = _dry_run(settings, file, name)
    output.show(answer, rows.changes(answer.changes, answer.workflow.name, placement=True), settings)
    homeless = [item for item in answer.changes if item.reason.code or item.reason.message]
    if homeless:
        first = homeless[0]
        raise NotPlaceable(f"{answer.workflow.name}/{first.loop} can't be placed: {rows.reason(first.reason)}")
    for queue in rows.changed_queues(answer):
        output.hint(clean(f"queue {queue.queue} {rows.change(queue)}: {'; '.join(queue.differences)}"))
    return 1 if _changed(answer) or rows.changed_queues(answer) else 0


def _dry_run(settings: Settings, file: str, name: str | None) -> workflow_service_pb2.ApplyWorkflowResponse:
    from treadle.v1 import workflow_service_pb2
    from wfctl.checking import name_of
    from wfctl.client import Client
    from wfctl.commands.apply import call

    given = documents.read([file], stem=name)
    if len(given) != 1:
        raise BadUsage(f"{file} holds {len(given)} documents; name one")
    request = workflow_service_pb2.ApplyWorkflowRequest(
        namespace=settings.namespace, name=given[0].stem, document=given[0].data, validate_only=True
    )
    with Client(settings) as client:
        try:
            answer = call(client, request, given[0])
        except InvalidWorkflow as exc:
            findings.show(exc.findings, settings)
            raise
    # One that does not exist yet is not answered: its name is.
    answer.workflow.name = answer.workflow.name or name_of(given[0]) or given[0].stem
    return answer


def _changed(answer: workflow_service_pb2.ApplyWorkflowResponse) -> list[workflow_pb2.LoopChange]:
    from wfctl import rows

    return [item for item in answer.changes if rows.change(item) != "unchanged"]


def _show_change(name: str, item: workflow_pb2.LoopChange | workflow_pb2.QueueChange, settings: Settings) -> None:
    from wfctl import rows

    kind = rows.change(item)
    sign, colour = {"created": ("+", "green"), "removed": ("-", "red")}.get(kind, ("~", "yellow"))
    line = clean(f"{sign} {name} {kind}")
    click.echo(click.style(line, fg=colour), color=settings.color)
    for difference in item.differences:
        click.echo(clean(f"    {difference}"))
