"""Who calls, and tokens, as they are shown."""

from __future__ import annotations

import click

from treadle.v1 import agent_service_pb2, client_service_pb2
from wfctl import output
from wfctl.settings import Settings
from wfctl.tables import Table


def show_token(
    answer: agent_service_pb2.CreateAgentTokenResponse | client_service_pb2.CreateClientTokenResponse,
    settings: Settings,
) -> None:
    """Print a token alone, so that it can go straight into a file; as JSON or YAML, with its end."""
    if settings.output in ("json", "yaml"):
        output.show_message(answer, settings)
    else:
        click.echo(answer.token)


def caller(answer: client_service_pb2.GetCallerResponse) -> Table:
    table = Table(("KIND", "NAME", "ROLE"))
    role = client_service_pb2.Role.Name(answer.role).removeprefix("ROLE_").lower()
    table.add(f"{answer.kind}/{answer.name}", answer.kind, answer.name, "" if role == "unspecified" else role)
    return table
