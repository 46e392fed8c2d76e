"""Completion of names: what the server has, asked for while somebody presses the tab key. Silent when it can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from wfctl.errors import WfctlError
from wfctl.settings import resolve

if TYPE_CHECKING:
    from wfctl.client import Client

_PATIENCE_S: Final = 1.0
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete(fetch: Callable[[Client], Iterable[str]]) -> Complete:
    """Return a completion of what `fetch` finds."""

    def answer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's interface
        from wfctl.client import Client

        given: dict[str, Any] = ctx.find_root().ensure_object(dict)
        try:
            with Client(replace(resolve(given), timeout_s=_PATIENCE_S)) as client:
                found = sorted(set(fetch(client)))
        except WfctlError:
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]

    return answer


def _workflows(client: Client) -> Iterable[str]:
    from treadle.v1 import workflow_service_pb2

    request = workflow_service_pb2.ListWorkflowsRequest(namespace=client.settings.namespace)
    return [one.name for one in client.call_all(client.workflows.ListWorkflows, request).workflows]


def _loops(client: Client) -> Iterable[str]:
    from treadle.v1 import loop_service_pb2

    request = loop_service_pb2.ListLoopsRequest(namespace=client.settings.namespace)
    return [f"{one.workflow}/{one.name}" for one in client.call_all(client.loops.ListLoops, request).loops]


def _agents(client: Client) -> Iterable[str]:
    from treadle.v1 import agent_service_pb2

    listed = client.call_all(client.agents.ListAgents, agent_service_pb2.ListAgentsRequest())
    return [one.name for one in listed.agents]


def _queues(client: Client) -> Iterable[str]:
    from treadle.v1 import queue_service_pb2

    request = queue_service_pb2.ListQueuesRequest(namespace=client.settings.namespace)
    return [one.name for one in client.call_all(client.queues.ListQueues, request).queues]


def _node_types(client: Client) -> Iterable[str]:
    from treadle.v1 import node_type_service_pb2

    listed = client.call_all(client.node_types.ListNodeTypes, node_type_service_pb2.ListNodeTypesRequest())
    return [one.uses for one in listed.node_types]


def _contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's interface
    from wfctl import contexts

    try:
        known = contexts.load(contexts.default_path()).named
    except WfctlError:
        return []
    return [CompletionItem(name) for name in sorted(known) if name.startswith(incomplete)]


def _listed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    by_kind = {"agents": agent, "queues": queue, "loops": loop, "nodes": target}
    return by_kind.get(ctx.params.get("kind") or "", workflow)(ctx, param, incomplete)


workflow: Final = complete(_workflows)
loop: Final = complete(_loops)
target: Final = complete(lambda client: [*_workflows(client), *_loops(client)])
agent: Final = complete(_agents)
queue: Final = complete(_queues)
node_type: Final = complete(_node_types)
context: Final[Complete] = _contexts
of_kind: Final[Complete] = _listed

# What an argument of a verb names, by the verb; those of `get` depend on its first one.
ARGUMENTS: Final[dict[str, Complete]] = {
    "describe workflow": workflow,
    "describe loop": loop,
    "describe agent": agent,
    "describe queue": queue,
    "delete workflow": workflow,
    **dict.fromkeys(("start", "stop", "pause", "resume", "restart", "logs", "why", "events", "top"), target),
    "scale": loop,
    **dict.fromkeys(("rollout status", "rollout history", "rollout undo"), workflow),
    **dict.fromkeys(("queue peek", "queue push", "queue purge", "queue delete", "queue delete-consumer"), queue),
    **dict.fromkeys(("dlq ls", "dlq show", "dlq replay", "dlq drop"), queue),
    **dict.fromkeys(("agent cordon", "agent uncordon", "agent drain", "agent revoke"), agent),
    "node-types show": node_type,
    **dict.fromkeys(("context use", "context show", "context set", "context delete"), context),
    "get": of_kind,
}
