"""Results on standard output, in the form that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wfctl import tables
from wfctl.settings import Settings
from wfctl.tables import Table

if TYPE_CHECKING:
    from google.protobuf.message import Message


def show(message: Message, table: Table, settings: Settings) -> None:
    """Print an API message: as protobuf JSON, as the same in YAML, or as the table made of it."""
    if settings.output in {"json", "yaml"}:
        show_message(message, settings)
    else:
        tables.show(table, settings)


def show_message(message: Message, settings: Settings) -> None:
    """Print an API message as protobuf JSON, or as YAML when that is asked for."""
    if settings.output != "yaml":
        click.echo(to_json(message))
        return
    import json

    import yaml

    click.echo(yaml.safe_dump(json.loads(to_json(message)), sort_keys=False).rstrip())


def to_json(message: Message, *, indent: int | None = 2) -> str:
    """Return the protobuf JSON of a message, fields without a value included: scripts need not guess them."""
    from google.protobuf.json_format import MessageToJson

    text: str = MessageToJson(message, always_print_fields_with_no_presence=True, indent=indent)
    return text


def hint(sentence: str) -> None:
    """Print progress or advice: to standard error, never among the results."""
    click.echo(sentence, err=True)
