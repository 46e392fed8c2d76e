"""`wfctl queue`: the queues between loops, and programs outside."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from wfctl import output
from wfctl.cli import VerbGroup, with_settings
from wfctl.errors import BadUsage
from wfctl.settings import Settings

if TYPE_CHECKING:
    from treadle.v1 import queue_pb2


@click.group(cls=VerbGroup)
def queue() -> None:
    """Look at queues and their messages; push some."""


@queue.command()
@click.option("--workflow", default="", metavar="NAME", help="Only the queues of one workflow.")
@click.option("--all", "hidden", is_flag=True, help="Tail queues too.")
@with_settings
def ls(settings: Settings, workflow: str, *, hidden: bool) -> None:
    """List the queues with their figures."""
    from treadle.v1 import queue_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    request = queue_service_pb2.ListQueuesRequest(namespace=settings.namespace, workflow=workflow)
    with Client(settings) as client:
        answer = client.call_all(client.queues.ListQueues, request)
    shown = [item for item in answer.queues if hidden or not item.hidden]
    output.show(answer, rows.queues(shown), settings)


@queue.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@with_settings
def peek(settings: Settings, name: str, limit: int) -> None:
    """Show the oldest messages of a queue, a line of JSON each; takes nothing."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    request = queue_service_pb2.PeekQueueRequest(namespace=settings.namespace, name=name, limit=limit)
    with Client(settings) as client:
        answer = client.call(client.queues.PeekQueue, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
        return
    for message in answer.messages:
        click.echo(message.id if settings.output == "name" else as_json(message))


@queue.command()
@click.argument("name")
@click.argument("payload", nargs=-1)
@click.option("--producer", default="", help="Who pushes: with it, the same sequence pushes once.")
@click.option("--sequence", type=click.IntRange(0), default=0, help="Number of this push of the producer.")
@with_settings
def push(settings: Settings, name: str, payload: tuple[str, ...], producer: str, sequence: int) -> None:
    """Push JSON objects, all or none: the arguments, or the lines of standard input."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    if bool(producer) != bool(sequence):
        raise BadUsage("--producer and --sequence go together; sequences begin with 1")
    request = queue_service_pb2.PushQueueRequest(
        namespace=settings.namespace, name=name, payloads=list(encoded(payload)), producer=producer, sequence=sequence
    )
    with Client(settings) as client:
        answer = client.call(client.queues.PushQueue, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    elif answer.duplicate:
        click.echo(f"{sequence} of {producer} was pushed before")
    else:
        last = answer.first + len(request.payloads) - 1
        click.echo(f"pushed {len(request.payloads)} to {name}, numbers {answer.first} to {last}")


@queue.command()
@click.argument("name")
@with_settings
def purge(settings: Settings, name: str) -> None:
    """Drop every message of a queue that nobody has claimed."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    with Client(settings) as client:
        request = queue_service_pb2.PurgeQueueRequest(
            namespace=settings.namespace, name=name, request_id=str(uuid.uuid4())
        )
        answer = client.call(client.queues.PurgeQueue, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(f"queue/{name}" if settings.output == "name" else f"dropped {answer.dropped} messages of {name}")


@queue.command("delete-consumer")
@click.argument("name")
@click.argument("consumer")
@with_settings
def delete_consumer(settings: Settings, name: str, consumer: str) -> None:
    """Give up the place of a program that will not come back; what it had goes to the other readers."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    with Client(settings) as client:
        request = queue_service_pb2.DeleteConsumerRequest(
            namespace=settings.namespace, queue=name, consumer=consumer, request_id=str(uuid.uuid4())
        )
        answer = client.call(client.queues.DeleteConsumer, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(f"consumer/{consumer}" if settings.output == "name" else f"consumer {consumer} of {name} is gone")


@queue.command()
@click.argument("name")
@with_settings
def delete(settings: Settings, name: str) -> None:
    """Remove a queue that no workflow mentions."""
    from treadle.v1 import queue_service_pb2
    from wfctl.client import Client

    with Client(settings) as client:
        request = queue_service_pb2.DeleteQueueRequest(
            namespace=settings.namespace, name=name, request_id=str(uuid.uuid4())
        )
        answer = client.call(client.queues.DeleteQueue, request)
    if settings.output in {"json", "yaml"}:
        output.show_message(answer, settings)
    else:
        click.echo(f"queue/{name}" if settings.output == "name" else f"queue/{name} deleted")


def encoded(arguments: tuple[str, ...]) -> Iterator[bytes]:
    """Yield each JSON object as MessagePack. Raises BadUsage that says which one is none."""
    lines = list(arguments) or [line for line in sys.stdin.read().splitlines() if line.strip()]
    if not lines:
        raise BadUsage("there is nothing to push; give JSON objects as arguments, or a line each on standard input")
    for number, line in enumerate(lines, 1):
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError as exc:
            raise BadUsage(f'payload {number} is not JSON ({exc}); write an object like {{"n": 1}}') from exc
        if not isinstance(value, dict):
            raise BadUsage(f'payload {number} is no object; write one like {{"n": 1}}')
        yield msgspec.msgpack.encode(value)


def as_json(message: queue_pb2.QueueMessage) -> str:
    """Return a message as one line of JSON; bytes in it become base64."""
    shown: dict[str, Any] = {"id": message.id, "number": message.number, "payload": decoded(message.payload)}
    if message.headers:
        shown["headers"] = decoded(message.headers)
    import json

    # Python's writer escapes every control character, msgspec's decoder has made sure of the rest.
    return json.dumps(msgspec.to_builtins(shown))


def decoded(raw: bytes) -> Any:
    """Return what MessagePack holds, or its bytes in hexadecimal where it is none."""
    try:
        return msgspec.msgpack.decode(raw)
    except msgspec.DecodeError:
        return {"$undecodable": raw.hex()}
