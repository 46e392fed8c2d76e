"""`wfctl dlq`: dead letters, messages that a loop could not process."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from wfctl import output
from wfctl.cli import VerbGroup, with_settings
from wfctl.commands.queue import decoded
from wfctl.errors import BadUsage
from wfctl.settings import Settings
from wfctl.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.v1 import queue_pb2


@click.group(cls=VerbGroup)
def dlq() -> None:
    """Look at dead letters; take them back to their queue, or drop them."""


@dlq.command()
@click.argument("queue")
@with_settings
def ls(settings: Settings, queue: str) -> None:
    """List the dead letters of a queue, oldest first."""
    from treadle.v1 import queue_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    request = queue_service_pb2.ListDeadLettersRequest(namespace=settings.namespace, queue=queue)
    with Client(settings) as client:
        answer = client.call_all(client.queues.ListDeadLetters, request)
    output.show(answer, rows.dead_letters(answer.dead_letters), settings)


@dlq.command()
@click.argument("queue")
@click.argument("name", metavar="ID")
@with_settings
def show(settings: Settings, queue: str, name: str) -> None:
    """Show one dead letter with its message, error and traceback."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    request = queue_service_pb2.GetDeadLetterRequest(namespace=settings.namespace, queue=queue, id=name)
    with Client(settings) as client:
        answer = client.call(client.queues.GetDeadLetter, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    elif settings.output == "name":
        click.echo(clean(f"dead-letter/{queue}/{answer.dead_letter.id}"))
    else:
        _describe(answer.dead_letter)


def one_or_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which dead letters are meant."""
    function = click.option("--all", "everything", is_flag=True, help="All that there are now.")(function)
    function = click.argument("name", metavar="[ID]", required=False)(function)
    return click.argument("queue")(function)


@dlq.command()
@one_or_all
@with_settings
def replay(settings: Settings, queue: str, name: str | None, *, everything: bool) -> None:
    """Take dead letters back to the tails of their queues, each exactly once.

    ID is that of a dead letter or of an iteration; whatever was popped together goes back together.
    """
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    request = queue_service_pb2.ReplayDeadLettersRequest(**_which(settings, queue, name, everything=everything))
    with Client(settings) as client:
        answer = client.call(client.queues.ReplayDeadLetters, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(clean(f"replayed {answer.replayed} dead letters of {queue}"))


@dlq.command()
@one_or_all
@with_settings
def drop(settings: Settings, queue: str, name: str | None, *, everything: bool) -> None:
    """Drop dead letters for good, each with all that was popped together with it."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    request = queue_service_pb2.DropDeadLettersRequest(**_which(settings, queue, name, everything=everything))
    with Client(settings) as client:
        answer = client.call(client.queues.DropDeadLetters, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(clean(f"dropped {answer.dropped} dead letters of {queue}"))


def _which(settings: Settings, queue: str, name: str | None, *, everything: bool) -> dict[str, Any]:
    if (name is None) != everything:
        raise BadUsage(f"name one dead letter, or give --all; see: wfctl dlq ls {queue}")
    return {
        "namespace": settings.namespace,
        "queue": queue,
        "id": name or "",
        "all": everything,
        "request_id": str(uuid.uuid4()),
    }


def _describe(letter: queue_pb2.DeadLetter) -> None:
    import json

    import msgspec

    from wfctl import rows

    facts = {
        "Dead letter": letter.id,
        "Message": letter.message_id,
        "Iteration": letter.iteration,
        "Since": rows.clock(letter.dead_time),
        "Error": rows.reason(letter.reason),
        "Attempts": letter.attempts or "",
        "Revision": letter.revision or "",
        "Trace": letter.trace_id,
    }
    if letter.payload:
        facts["Payload"] = json.dumps(msgspec.to_builtins(decoded(letter.payload)))
        headers = decoded(letter.headers)
        facts["Headers"] = json.dumps(msgspec.to_builtins(headers)) if headers else ""
    else:
        facts["Entry"] = letter.raw[:256].hex()
    for key, value in facts.items():
        if str(value):
            click.echo(clean(f"{key + ':':<13}{value}"))
    if letter.reason.traceback:
        click.echo(clean(letter.reason.traceback.rstrip(), lines=True))
