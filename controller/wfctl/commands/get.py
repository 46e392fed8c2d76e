"""`wfctl get`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from wfctl import output, tables
from wfctl.cli import Verb, target, with_settings
from wfctl.errors import BadUsage, NotFound
from wfctl.settings import Settings

if TYPE_CHECKING:
    from wfctl.client import Client
    from wfctl.tables import Table

KINDS: Final = ("workflows", "loops", "agents", "queues", "nodes", "revisions")
_WATCH_S: Final = 1.0


class Kind(click.Choice[str]):
    """A kind of thing, in the singular too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        plural = f"{value}s" if f"{value}s" in KINDS else value
        return super().convert(plural, param, ctx)


@dataclass(slots=True)
class Listing:
    """An answer of the API, the field of it that holds the things, and how they look as a table."""

    answer: Any
    field: str
    table: Callable[[Any], Table]

    @property
    def items(self) -> Any:
        return getattr(self.answer, self.field)

    def keep(self, chosen: list[Any]) -> None:
        """Keep only some of the things."""
        kept = [type(item).FromString(item.SerializeToString()) for item in chosen]
        del self.items[:]
        self.items.extend(kept)


@click.command(cls=Verb)
@click.argument("kind", type=Kind(KINDS))
@click.argument("name", default="")
@click.option("--watch", "-w", is_flag=True, help="Show what changes, until Ctrl-C.")
@click.option("--selector", "-l", default="", metavar="KEY=VALUE,...", help="Columns, or labels of agents, to match.")
@with_settings
def get(settings: Settings, kind: str, name: str, *, watch: bool, selector: str) -> None:
    """List workflows, loops, agents, queues, nodes or revisions; NAME narrows it.

    NAME is a workflow for loops, nodes and revisions, WORKFLOW/LOOP for loops and nodes.
    """
    from wfctl.client import Client

    wanted = parse_selector(selector)
    with Client(settings) as client:
        if watch:
            _watch(client, kind, name, wanted)
        listing = fetch(client, kind, name, wanted)
    only = name and len(listing.items) == 1 and kind in {"workflows", "agents", "queues"}
    message = listing.items[0] if only else listing.answer
    output.show(message, listing.table(listing.items), settings)


def parse_selector(text: str) -> dict[str, str]:
    """Return the pairs of `key=value,key=value`. Raises BadUsage."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise BadUsage(f"the selector {text!r} can't be read; write key=value,key=value")
    return {key: value for key, _, value in pairs}


def fetch(client: Client, kind: str, name: str, wanted: dict[str, str]) -> Listing:
    """Return the things of a kind that the name and the selector choose. Raises NotFound for a name without any."""
    listing = _LISTS[kind](client, name)
    table = listing.table(listing.items)
    chosen = (
        [
            item
            for item, row in zip(listing.items, table.rows, strict=True)
            if _matches(item, dict(zip(table.columns, row, strict=True)), wanted)
        ]
        if wanted
        else None
    )
    if chosen is not None:
        listing.keep(chosen)
    elif name and not listing.items:
        raise NotFound(f"there is no {kind.removesuffix('s')} {name!r}; see: wfctl get {kind}")
    return listing


def _matches(item: Any, cells: dict[str, str], wanted: dict[str, str]) -> bool:
    labels = dict(getattr(item, "labels", {}))
    for key, value in wanted.items():
        if key.upper() not in cells and not hasattr(item, "labels"):
            columns = ", ".join(column.lower() for column in cells)
            raise BadUsage(f"there is nothing called {key!r} to select by; there are: {columns}")
        if labels.get(key, cells.get(key.upper(), "")).lower() != value.lower():
            return False
    return True


def _workflows(client: Client, name: str) -> Listing:
    from treadle.v1 import workflow_service_pb2
    from wfctl import rows

    answer = workflow_service_pb2.ListWorkflowsResponse()
    if name:
        request = workflow_service_pb2.GetWorkflowRequest(namespace=client.settings.namespace, name=name)
        answer.workflows.append(client.call(client.workflows.GetWorkflow, request).workflow)
    else:
        listing = workflow_service_pb2.ListWorkflowsRequest(namespace=client.settings.namespace)
        answer = client.call_all(client.workflows.ListWorkflows, listing)
    return Listing(answer, "workflows", rows.workflows)


def _loops(client: Client, name: str) -> Listing:
    from treadle.v1 import loop_service_pb2
    from wfctl import rows

    workflow, loop = target(name) if name else ("", "")
    request = loop_service_pb2.ListLoopsRequest(namespace=client.settings.namespace, workflow=workflow)
    listing = Listing(client.call_all(client.loops.ListLoops, request), "loops", rows.loops)
    if loop:
        listing.keep([item for item in listing.items if item.name == loop])
    return listing


def _nodes(client: Client, name: str) -> Listing:
    from treadle.v1 import loop_pb2, loop_service_pb2
    from wfctl import rows

    whole = _loops(client, name)
    one_each = loop_service_pb2.ListLoopsResponse()
    for loop in whole.items:  # a loop for each node, so that rows and things are as many
        for instance in loop.instances:
            for node in instance.status.nodes:
                single = loop_pb2.Loop(namespace=loop.namespace, workflow=loop.workflow, name=loop.name)
                replica = single.instances.add(index=instance.index, agent=instance.agent, epoch=instance.epoch)
                replica.status.nodes.append(node)
                one_each.loops.append(single)
    return Listing(one_each, "loops", rows.nodes)


def _agents(client: Client, name: str) -> Listing:
    from treadle.v1 import agent_service_pb2
    from wfctl import rows

    answer = agent_service_pb2.ListAgentsResponse()
    if name:
        answer.agents.append(client.call(client.agents.GetAgent, agent_service_pb2.GetAgentRequest(name=name)).agent)
    else:
        answer = client.call_all(client.agents.ListAgents, agent_service_pb2.ListAgentsRequest())
    return Listing(answer, "agents", rows.agents)


def _queues(client: Client, name: str) -> Listing:
    from treadle.v1 import queue_service_pb2
    from wfctl import rows

    namespace = client.settings.namespace
    answer = queue_service_pb2.ListQueuesResponse()
    if name:
        request = queue_service_pb2.GetQueueRequest(namespace=namespace, name=name)
        answer.queues.append(client.call(client.queues.GetQueue, request).queue)
    else:
        answer = client.call_all(client.queues.ListQueues, queue_service_pb2.ListQueuesRequest(namespace=namespace))
    return Listing(answer, "queues", rows.queues)


def _revisions(client: Client, name: str) -> Listing:
    from treadle.v1 import workflow_service_pb2
    from wfctl import rows

    if not name:
        raise BadUsage("revisions are a workflow's; write: wfctl get revisions WORKFLOW")
    request = workflow_service_pb2.ListRevisionsRequest(namespace=client.settings.namespace, workflow=name)
    return Listing(client.call_all(client.workflows.ListRevisions, request), "revisions", rows.revisions)


_LISTS: Final[dict[str, Callable[[Client, str], Listing]]] = {
    "workflows": _workflows,
    "loops": _loops,
    "agents": _agents,
    "queues": _queues,
    "nodes": _nodes,
    "revisions": _revisions,
}


def _watch(client: Client, kind: str, name: str, wanted: dict[str, str]) -> None:
    """Print each thing that is new or changed, until Ctrl-C."""
    before: dict[str, tuple[str, ...]] = {}
    while True:
        listing = fetch(client, kind, name, wanted)
        table = listing.table(listing.items)
        changed = [i for i, key in enumerate(table.names) if before.get(key) != table.rows[i]]
        if client.settings.output == "json":
            for i in changed:
                click.echo(output.to_json(listing.items[i], indent=None))
        elif changed:
            part = [table.rows[i] for i in changed]
            names = [table.names[i] for i in changed]
            tables.show(tables.Table(table.columns, part, names, table.wide), client.settings)
        before = dict(zip(table.names, table.rows, strict=True))
        time.sleep(_WATCH_S)
