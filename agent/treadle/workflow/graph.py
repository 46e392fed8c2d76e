"""The graph: the nodes and edges of a React Flow document that mean something, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from treadle.workflow.names import escaped, is_name, kind_of, shown

if TYPE_CHECKING:
    from treadle.workflow.findings import Findings

MAX_NODES: Final = 10_000
MAX_EDGES: Final = 50_000
MAX_EDGE_ID: Final = 1_024
RUNNING: Final = ("producer", "blocking", "non-blocking", "queue", "queue-reader")
CONTAINER: Final = "loop"
DECORATION: Final = frozenset({"group", "note", "stickyNote", "annotation", "comment"})

_ENDS: Final = ("source", "target")
_WRAPPERS: Final = ("flow", "workflow")
_TOP: Final = ("name", "defaults", "rollout")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node that runs, or a loop container."""

    id: str
    type: str
    data: dict[str, Any]
    parent: str | None
    pointer: str

    @property
    def data_pointer(self) -> str:
        """Where its settings stand."""
        return f"{self.pointer}/data"


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """One edge between nodes that run."""

    id: str
    source: str
    target: str
    source_handle: str | None
    target_handle: str | None
    order: float
    pointer: str

    @property
    def rank(self) -> tuple[float, str, str]:
        """The place among the edges of one source: nothing depends on the order of arrays."""
        return self.order, self.target, self.id


@dataclass(slots=True)
class Graph:
    """The meaningful part of a document; `unknown` are the nodes of which only the id could be used."""

    top: dict[str, Any] = field(default_factory=dict)
    top_pointers: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    containers: dict[str, Node] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)  # of every node, decoration included
    edges: list[Edge] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    decoration: set[str] = field(default_factory=set)
    excused: set[str] = field(default_factory=set)  # targets of edges from unknown nodes


def locate(document: Any) -> tuple[dict[str, Any], str] | None:
    """The object that holds `nodes`, and its pointer: the document itself, or what it wraps."""
    if not isinstance(document, dict):
        return None
    if "nodes" in document:
        return document, ""
    for key in _WRAPPERS:
        inner = document.get(key)
        if isinstance(inner, dict) and "nodes" in inner:
            return inner, f"/{key}"
    return None


def top_level(document: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """The document's own settings with their pointers; those beside the graph win over those of a wrapper."""
    found = locate(document)
    places = [(document, "")] if found is None or found[0] is document else [(document, ""), found]
    return {key: (place[key], pointer) for place, pointer in places for key in _TOP if place.get(key) is not None}


def read_graph(document: Any, findings: Findings) -> Graph | None:
    """Nodes and edges of the document; None when it has none that could be looked at."""
    found = locate(document)
    if found is None:
        findings.add("not-a-workflow", "", f"there is no array `nodes`: {_seen(document)}")
        return None
    inner, pointer = found
    nodes, edges = inner["nodes"], inner.get("edges")
    edges = [] if edges is None else edges
    for key, value, most in (("nodes", nodes, MAX_NODES), ("edges", edges, MAX_EDGES)):
        where = f"{pointer}/{key}"
        if not isinstance(value, list):
            findings.add("not-a-workflow", where, f"`{key}` is {kind_of(value)}, not an array")
        elif len(value) > most:
            findings.add(f"too-many-{key}", where, f"{len(value):,} {key}, {most:,} are allowed")
    if findings.failed:
        return None
    graph = Graph()
    for key, (value, where) in top_level(document).items():
        graph.top[key], graph.top_pointers[key] = value, where
    _read_nodes(nodes, f"{pointer}/nodes", graph, findings)
    _read_edges(edges, f"{pointer}/edges", graph, findings)
    return graph


def _seen(document: Any) -> str:
    if not isinstance(document, dict):
        return f"the document is {kind_of(document)}"
    keys = ", ".join(escaped(key, 40) for key in list(document)[:8])
    return f"the document has the keys {keys}" if keys else "the document is {}"


def _read_nodes(items: list[Any], pointer: str, graph: Graph, findings: Findings) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        where = f"{pointer}/{index}"
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            what = f"is {kind_of(item)}" if not isinstance(item, dict) else "has no text `id`"
            findings.add("bad-node", where, f"the node {what}")
        elif item["id"] in seen:
            findings.add("duplicate-id", f"{where}/id", f"two nodes are called {shown(item['id'])}", element=item["id"])
        else:
            seen.add(item["id"])
            _read_node(item, where, graph, findings)


def _read_node(item: dict[str, Any], where: str, graph: Graph, findings: Findings) -> None:
    node_id, kind = item["id"], item.get("type")
    data, parent = item.get("data"), item.get("parentId") or item.get("parentNode")
    if isinstance(parent, str):
        graph.parents[node_id] = parent
    if isinstance(kind, str) and kind in DECORATION:
        graph.decoration.add(node_id)
        findings.add("decoration", where, f"{shown(node_id)} is a {kind}: it does not run", element=node_id)
        return
    if kind not in RUNNING and kind != CONTAINER:
        graph.unknown.add(node_id)
        _unknown_type(kind, node_id, where, findings)
        return
    if not is_name(node_id):
        findings.add("bad-name", f"{where}/id", f"{shown(node_id)} is no name for a node", element=node_id)
    if data is not None and not isinstance(data, dict):
        findings.add("bad-node", f"{where}/data", f"`data` is {kind_of(data)}, not an object", element=node_id)
    node = Node(node_id, kind, data if isinstance(data, dict) else {}, graph.parents.get(node_id), where)
    (graph.containers if kind == CONTAINER else graph.nodes)[node_id] = node


def _unknown_type(kind: Any, node_id: str, where: str, findings: Findings) -> None:
    known = (*RUNNING, CONTAINER)
    near = findings.hints.nearest(kind, known, among="types") if isinstance(kind, str) else None
    said = f"the type {shown(kind)} is not known" if isinstance(kind, str) else "the node has no `type`"
    hint = f"; did you mean '{near}'?" if near else ""
    fix = f"use one of {', '.join(known)}; for decoration one of {', '.join(sorted(DECORATION))}"
    findings.add("unknown-type", f"{where}/type", said + hint, element=node_id, fix=fix)


def _read_edges(items: list[Any], pointer: str, graph: Graph, findings: Findings) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        where = f"{pointer}/{index}"
        edge = _read_edge(item, where, findings)
        if edge is None:
            continue
        if edge.id in seen:
            message = f"two edges are called {shown(edge.id)}"
            findings.add("duplicate-id", f"{where}/id", message, element=edge.id)
            continue
        seen.add(edge.id)
        if _both_run(edge, graph, findings):
            graph.edges.append(edge)


def _read_edge(item: Any, where: str, findings: Findings) -> Edge | None:
    if not isinstance(item, dict):
        findings.add("bad-edge", where, f"the edge is {kind_of(item)}, not an object")
        return None
    given = item.get("id")
    name = given if isinstance(given, str) else ""
    for key in ("source", "target", "id", "sourceHandle", "targetHandle"):
        value = item.get(key)
        if not isinstance(value, str) and not (key not in _ENDS and value is None):
            findings.add("bad-edge", f"{where}/{key}", f"`{key}` is {kind_of(value)}, not a string", element=name)
            return None
    if len(name.encode(errors="replace")) > MAX_EDGE_ID:
        findings.add("bad-edge", f"{where}/id", f"the edge's id is longer than {MAX_EDGE_ID:,} bytes", element=name)
        return None
    source, target, out, into = (item.get(key) for key in ("source", "target", "sourceHandle", "targetHandle"))
    # An edge without an id gets the one that React Flow would make.
    edge_id = name or f"xy-edge__{source}{out or ''}-{target}{into or ''}"
    order = _order(item, where, edge_id, findings)
    return Edge(edge_id, str(source), str(target), out or None, into or None, order, where)


def _order(item: dict[str, Any], where: str, edge_id: str, findings: Findings) -> float:
    data = item.get("data")
    order = data.get("order") if isinstance(data, dict) else None
    if order is None:
        return 0
    if isinstance(order, bool) or not isinstance(order, int | float):
        message = f"'order' must be a number, not {kind_of(order)}"
        findings.add("bad-setting", f"{where}/data/order", message, element=edge_id)
        return 0
    return order


def _both_run(edge: Edge, graph: Graph, findings: Findings) -> bool:
    """Whether the edge joins two nodes that run; says why when it doesn't."""
    runs = True
    for key, end in (("source", edge.source), ("target", edge.target)):
        if end in graph.nodes:
            continue
        runs = False
        if end in graph.decoration:
            message = f"{shown(end)} is decoration: the edge means nothing"
            findings.add("decoration-edge", edge.pointer, message, element=edge.id)
        elif end in graph.containers:
            message = f"the edge ends at the loop container {shown(end)}"
            findings.add("container-edge", f"{edge.pointer}/{key}", message, element=edge.id)
        elif end not in graph.unknown:
            message = f"there is no node {shown(end)}"
            findings.add("dangling-edge", f"{edge.pointer}/{key}", message, element=edge.id)
    if not runs and edge.source in graph.unknown and edge.target in graph.nodes:
        graph.excused.add(edge.target)
    return runs
