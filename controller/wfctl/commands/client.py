"""`wfctl client`: who may call the controller."""

from __future__ import annotations

import click

from wfctl import output
from wfctl.cli import DURATION, VerbGroup, with_settings
from wfctl.settings import Settings


@click.group(cls=VerbGroup)
def client() -> None:
    """Let people and programs call the controller, and end it."""


@client.command()
@with_settings
def whoami(settings: Settings) -> None:
    """Say who you are to the controller, and what you may do there."""
    from treadle.v1 import client_service_pb2 as pb
    from wfctl import identity
    from wfctl.client import Client

    with Client(settings) as calls:
        answer = calls.call(calls.clients.GetCaller, pb.GetCallerRequest())
    output.show(answer, identity.caller(answer), settings)


@client.command()
@click.argument("name")
@with_settings
def revoke(settings: Settings, name: str) -> None:
    """Refuse whatever a client was given so far, and end its connections."""
    from treadle.v1 import client_service_pb2 as pb
    from wfctl.client import Client

    with Client(settings) as calls:
        calls.call(calls.clients.RevokeClient, pb.RevokeClientRequest(name=name))
    output.hint(f"{name} is out; a new certificate or token lets it in again")


@client.group(cls=VerbGroup)
def token() -> None:
    """Tokens, for where a certificate is too much."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), required=True)
@click.option("--ttl", type=DURATION, help="How long it is good.  [default: 30 days]")
@with_settings
def create(settings: Settings, name: str, *, role: str, ttl: float | None) -> None:
    """Make a token for a person or a program; it goes into WF_TOKEN."""
    from google.protobuf.duration_pb2 import Duration

    from treadle.v1 import client_service_pb2 as pb
    from wfctl import identity
    from wfctl.client import Client

    limit = None if ttl is None else Duration(seconds=int(ttl), nanos=int(ttl % 1 * 1e9))
    with Client(settings) as calls:
        request = pb.CreateClientTokenRequest(name=name, role=pb.Role.Value(f"ROLE_{role.upper()}"), ttl=limit)
        request.namespace = "" if settings.namespace == "default" else settings.namespace
        answer = calls.call(calls.clients.CreateClientToken, request)
    identity.show_token(answer, settings)
    output.hint(f"it is shown this once: export WF_TOKEN=... to be {name}")
