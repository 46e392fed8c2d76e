"""`wfctl describe`: everything about one thing, its newest events last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from wfctl import output, tables
from wfctl.cli import VerbGroup, target, with_settings
from wfctl.errors import BadUsage
from wfctl.settings import Settings
from wfctl.text import clean, duration

if TYPE_CHECKING:
    from treadle.v1 import event_pb2, loop_pb2, queue_pb2
    from wfctl.client import Client

_EVENTS: Final = 20


@click.group(cls=VerbGroup)
def describe() -> None:
    """Show everything about one thing, its newest events last."""


@describe.command()
@click.argument("name")
@with_settings
def workflow(settings: Settings, name: str) -> None:
    """Describe a workflow."""
    from treadle.v1 import workflow_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    request = workflow_service_pb2.GetWorkflowRequest(namespace=settings.namespace, name=name)
    with Client(settings) as client:
        found = client.call(client.workflows.GetWorkflow, request).workflow
        if _as_message(found, settings):
            return
        _facts(
            Workflow=found.name,
            Namespace=found.namespace,
            State=rows.loop_state(found.state),
            Why=rows.reason(found.reason),
            Revision=found.revision,
            Digest=found.digest,
            Created=rows.clock(found.create_time),
            Updated=rows.clock(found.update_time),
            Server=_server(client),
        )
        _section("Loops", rows.loops(found.loops), settings)
        _section("Nodes", rows.nodes(found.loops), settings)
        _events(client, found.name, lambda _: True)


@describe.command()
@click.argument("name", metavar="WORKFLOW/LOOP")
@with_settings
def loop(settings: Settings, name: str) -> None:
    """Describe a loop."""
    from treadle.v1 import loop_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    of, loop_name = target(name)
    if not loop_name:
        raise BadUsage(f"{name!r} names no loop; write WORKFLOW/LOOP (wfctl get loops lists them)")
    request = loop_service_pb2.GetLoopRequest(namespace=settings.namespace, workflow=of, loop=loop_name)
    with Client(settings) as client:
        found = client.call(client.loops.GetLoop, request).loop
        if _as_message(found, settings):
            return
        _facts(
            Loop=f"{found.workflow}/{found.name}",
            Namespace=found.namespace,
            State=rows.loop_state(found.state),
            Why=rows.reason(found.reason),
            Pool=rows.pool(found.pool),
            Revision=found.revision,
            Digest=found.digest,
            TailOf=found.tail_of,
            Reads=", ".join(found.reads),
            Writes=", ".join(found.writes),
            Committed=found.committed,
            Errors=found.errors,
        )
        _replicas(found)
        _section("Nodes", rows.nodes([found]), settings)
        _events(client, of, lambda event: event.name.startswith(f"{of}/{loop_name}"))


@describe.command()
@click.argument("name")
@with_settings
def agent(settings: Settings, name: str) -> None:
    """Describe an agent."""
    from treadle.v1 import agent_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    with Client(settings) as client:
        found = client.call(client.agents.GetAgent, agent_service_pb2.GetAgentRequest(name=name)).agent
        if _as_message(found, settings):
            return
        table = rows.agents([found])
        _facts(**{key.capitalize(): value for key, value in zip(table.columns, table.rows[0], strict=True)})
        click.echo("\nLoops:")
        for item in found.loops:
            click.echo(clean(f"  {item.namespace}: {item.workflow}/{item.loop}/{item.replica}"))
        _events(client, "", lambda event: event.kind == "agent" and event.name == name)


@describe.command()
@click.argument("name")
@with_settings
def queue(settings: Settings, name: str) -> None:
    """Describe a queue."""
    from treadle.v1 import queue_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    request = queue_service_pb2.GetQueueRequest(namespace=settings.namespace, name=name)
    with Client(settings) as client:
        found = client.call(client.queues.GetQueue, request).queue
        if _as_message(found, settings):
            return
        table = rows.queues([found])
        _facts(
            **{key.capitalize(): value for key, value in zip(table.columns, table.rows[0], strict=True)},
            External="yes" if found.external else "no",
            Hidden="yes" if found.hidden else "no",
            Consumers=", ".join(map(_consumer, found.consumers)),
            Server=_server(client),
        )
        _events(client, "", lambda event: event.kind == "queue" and event.name == name)


def _consumer(found: queue_pb2.Consumer) -> str:
    """Return a program outside, and since when it is away if so."""
    if found.connected:
        return found.name
    from wfctl import rows

    since = f" for {rows.age(found.away_time)}" if found.HasField("away_time") else ""
    return f"{found.name} (away{since})"


def _server(client: Client) -> str:
    """Return what holds the queues; what is wrong with it is said apart."""
    from treadle.v1 import queue_service_pb2
    from wfctl import rows

    request = queue_service_pb2.GetQueueServerRequest(namespace=client.settings.namespace)
    found = client.call(client.queues.GetQueueServer, request).server
    for warning in found.warnings:
        output.hint(clean(f"warning: {warning}"))
    return rows.server(found)


def _as_message(message: Any, settings: Settings) -> bool:
    """Print the API message if JSON or YAML is asked for."""
    if settings.output not in {"json", "yaml"}:
        return False
    output.show_message(message, settings)
    return True


def _facts(**facts: object) -> None:
    """Print what is known, a line each; what is empty is left out."""
    shown = {key: str(value) for key, value in facts.items() if str(value) != ""}
    width = max(map(len, shown)) + 2
    for key, value in shown.items():
        click.echo(clean(f"{key + ':':<{width}}{value}"))


def _section(title: str, table: tables.Table, settings: Settings) -> None:
    if table.rows:
        click.echo(f"\n{title}:")
        tables.show(table, settings)


def _replicas(found: loop_pb2.Loop) -> None:
    from wfctl import rows

    click.echo("\nReplicas:")
    for item in found.instances:
        status = item.status
        click.echo(
            clean(
                f"  {item.index} on {item.agent or 'no agent'}: {rows.loop_state(status.state)}, epoch {item.epoch}, "
                f"incarnation {status.incarnation}, pid {status.process_id}, committed {status.committed}, "
                f"errors {status.errors}, retries {status.retries}, dead letters {status.dead_letters}, "
                f"restarts {status.restarts}, in flight {status.in_flight}"
            )
        )
        if status.blocked:
            waited = [f"{duration(each.seconds)} for {each.queue}" for each in status.blocked]
            click.echo(clean(f"    waited for room in queues: {', '.join(waited)}"))
        if status.reason.message:
            click.echo(clean(f"    {rows.reason(status.reason)}"))
        if status.reason.traceback:
            click.echo(clean(status.reason.traceback, lines=True))
        _incidents(status)


def _incidents(status: loop_pb2.LoopStatus) -> None:
    from wfctl import rows

    if not status.incidents:
        return
    click.echo("    Last errors:")
    for item in status.incidents:
        attempt = f", attempt {item.attempt}" if item.attempt else ""
        on = f", on {item.input}" if item.input else ""
        click.echo(clean(f"      {rows.clock(item.time)} {rows.reason(item.error)}{attempt}{on}"))
        for line in item.error.traceback.splitlines():
            click.echo(clean(f"        {line}"))


def _events(client: Client, workflow: str, wanted: Callable[[event_pb2.Event], bool]) -> None:
    from treadle.v1 import event_service_pb2
    from wfctl.lines import event_line

    request = event_service_pb2.ListEventsRequest(namespace=client.settings.namespace, workflow=workflow)
    found: Iterable[event_pb2.Event] = client.call_all(client.events.ListEvents, request).events
    newest = sorted((event for event in found if wanted(event)), key=lambda event: event.sequence)[-_EVENTS:]
    if newest:
        click.echo("\nEvents:")
    for event in newest:
        click.echo(f"  {event_line(event)}")
