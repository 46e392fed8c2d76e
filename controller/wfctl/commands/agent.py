"""`wfctl agent`: the hosts that run loops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from wfctl import output
from wfctl.cli import DURATION, VerbGroup, with_settings
from wfctl.errors import Unhealthy
from wfctl.settings import Settings

if TYPE_CHECKING:
    from treadle.v1 import agent_pb2
    from wfctl.client import Client


@click.group(cls=VerbGroup)
def agent() -> None:
    """Look at agents, and take them out of service."""


@agent.command()
@with_settings
def ls(settings: Settings) -> None:
    """List the agents."""
    from treadle.v1 import agent_service_pb2
    from wfctl import rows
    from wfctl.client import Client

    with Client(settings) as client:
        answer = client.call_all(client.agents.ListAgents, agent_service_pb2.ListAgentsRequest())
    output.show(answer, rows.agents(answer.agents), settings)


@agent.command()
@click.argument("name")
@with_settings
def cordon(settings: Settings, name: str) -> None:
    """Place nothing new on an agent."""
    from treadle.v1 import agent_service_pb2
    from wfctl.client import Client

    with Client(settings) as client:
        request = agent_service_pb2.CordonAgentRequest(name=name)
        _show(client.call(client.agents.CordonAgent, request).agent, settings)


@agent.command()
@click.argument("name")
@with_settings
def uncordon(settings: Settings, name: str) -> None:
    """Place loops on an agent again."""
    from treadle.v1 import agent_service_pb2
    from wfctl.client import Client

    with Client(settings) as client:
        request = agent_service_pb2.UncordonAgentRequest(name=name)
        _show(client.call(client.agents.UncordonAgent, request).agent, settings)


@agent.command()
@click.argument("name")
@click.option("--deadline", type=DURATION, default="60s", show_default=True, help="Then its loops are forced off.")
@click.option("--detach", is_flag=True, help="Do not wait until it is empty.")
@with_settings
def drain(settings: Settings, name: str, *, deadline: float, detach: bool) -> None:
    """Cordon an agent and hand its loops over, one by one; waits until it is empty."""
    from google.protobuf.duration_pb2 import Duration

    from treadle.v1 import agent_service_pb2
    from wfctl.client import Client

    limit = Duration(seconds=int(deadline), nanos=int(deadline % 1 * 1e9))
    with Client(settings) as client:
        request = agent_service_pb2.DrainAgentRequest(name=name, deadline=limit)
        seen = client.call(client.agents.DrainAgent, request).agent
        if not detach:
            # A little more than the deadline, at which the controller forces what is left.
            seen = _until_empty(client, name, deadline + 10)
        _show(seen, settings)


@agent.command()
@click.argument("name")
@with_settings
def revoke(settings: Settings, name: str) -> None:
    """End an agent's session, and refuse its certificates; its loops go elsewhere."""
    from treadle.v1 import agent_service_pb2
    from wfctl.client import Client

    with Client(settings) as client:
        client.call(client.agents.RevokeAgent, agent_service_pb2.RevokeAgentRequest(name=name))
    output.hint(f"{name} is out; to let it in again: wfctl agent token create {name}")


@agent.group(cls=VerbGroup)
def token() -> None:
    """Tokens with which agents enrol."""


@token.command()
@click.argument("name")
@with_settings
def create(settings: Settings, name: str) -> None:
    """Make a token with which one agent of this name enrols, once, within the hour."""
    from treadle.v1 import agent_service_pb2
    from wfctl import identity
    from wfctl.client import Client

    with Client(settings) as client:
        request = agent_service_pb2.CreateAgentTokenRequest(name=name)
        answer = client.call(client.agents.CreateAgentToken, request)
    identity.show_token(answer, settings)
    output.hint(f"it is shown this once; put it where the agent's token_file says, on {name}")


def _until_empty(client: Client, name: str, timeout_s: float) -> agent_pb2.Agent:
    from treadle.v1 import agent_service_pb2

    limit = time.monotonic() + timeout_s
    while time.monotonic() < limit:
        seen = client.call(client.agents.GetAgent, agent_service_pb2.GetAgentRequest(name=name)).agent
        if not seen.loops:
            return seen
        time.sleep(0.1)
    raise Unhealthy(f"{name} still runs loops after {timeout_s:g}s; see: wfctl describe agent {name}")


def _show(seen: agent_pb2.Agent, settings: Settings) -> None:
    from wfctl import rows

    output.show(seen, rows.agents([seen]), settings)
