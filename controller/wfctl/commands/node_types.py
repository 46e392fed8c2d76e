"""`wfctl node-types`: what the agents offer."""

from __future__ import annotations

import json

import click

from wfctl import output
from wfctl.cli import VerbGroup, with_settings
from wfctl.settings import Settings
from wfctl.text import clean


@click.group("node-types", cls=VerbGroup)
def node_types() -> None:
    """Look at the node implementations that agents offer."""


@node_types.command()
@with_settings
def ls(settings: Settings) -> None:
    """List the node types."""
    from treadle.v1 import node_type_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    with Client(settings) as client:
        answer = client.call_all(client.node_types.ListNodeTypes, node_type_service_pb2.ListNodeTypesRequest())
    output.show(answer, rows.node_types(answer.node_types), settings)


@node_types.command()
@click.argument("uses", metavar="NAME")
@with_settings
def show(settings: Settings, uses: str) -> None:
    """Show one node type with the JSON Schema of its `with`."""
    from treadle.v1 import node_type_service_pb2
    from wfctl import rows, tables
    from wfctl.client import Client

    with Client(settings) as client:
        request = node_type_service_pb2.GetNodeTypeRequest(uses=uses)
        found = client.call(client.node_types.GetNodeType, request).node_type
    if settings.output in {"json", "yaml"}:
        output.show_message(found, settings)
        return
    tables.show(rows.node_types([found]), settings)
    if settings.output != "name":
        click.echo(f"\n{clean(found.doc, lines=True)}\n\nwith:")
        click.echo(json.dumps(json.loads(found.schema_json or "{}"), indent=2))
