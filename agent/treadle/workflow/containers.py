"""Loop containers: which node lies in which, and whether the drawing agrees with the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.workflow.names import shown

if TYPE_CHECKING:
    from treadle.workflow.findings import Findings
    from treadle.workflow.flow import Flow
    from treadle.workflow.graph import Graph, Node


def containers_of_loops(graph: Graph, flow: Flow, findings: Findings) -> dict[str, Node]:
    """The container of each loop that has one, by the id of the loop's producer."""
    enclosing = _enclosing(graph, findings)
    inside: dict[str, list[str]] = {container: [] for container in graph.containers}
    for producer in flow.producers:
        if producer in enclosing:
            inside[enclosing[producer]].append(producer)
    for container, producers in inside.items():
        if len(producers) != 1:
            held = ", ".join(shown(producer) for producer in producers[:8]) or "none"
            message = f"the container {shown(container)} must hold one producer, and holds {held}"
            findings.add("container-producer", graph.containers[container].pointer, message, element=container)
    _report_strays(graph, flow, enclosing, findings)
    return {producers[0]: graph.containers[name] for name, producers in inside.items() if len(producers) == 1}


def _enclosing(graph: Graph, findings: Findings) -> dict[str, str]:
    """The loop container around each node that lies in one, however many groups are between."""
    known = {*graph.nodes, *graph.containers, *graph.decoration, *graph.unknown}
    settled: dict[str, str | None] = {}
    for node in (*graph.containers.values(), *graph.nodes.values()):
        _climb(node, graph, known, settled, findings)
    for container in graph.containers.values():
        around = settled[container.id]
        if around is not None:
            message = f"the loop {shown(container.id)} lies in the loop {shown(around)}"
            findings.add("nested-loop", container.pointer, message, element=container.id)
    return {name: container for name, container in settled.items() if container is not None and name in graph.nodes}


def _climb(node: Node, graph: Graph, known: set[str], settled: dict[str, str | None], findings: Findings) -> None:
    """Go from parent to parent up to a container, and note it for all on the way."""
    passed: dict[str, None] = {}
    at, around = node.id, None
    while at not in settled:
        if at in passed:
            message = f"{shown(at)} is its own parent's parent"
            findings.add("parent-cycle", f"{node.pointer}/parentId", message, element=node.id)
            break
        passed[at] = None
        parent = graph.parents.get(at)
        if parent is not None and parent not in known:
            message = f"there is no node {shown(parent)} to be the parent of {shown(at)}"
            findings.add("dangling-parent", f"{node.pointer}/parentId", message, element=node.id)
        if parent is None or parent not in known or parent in graph.containers:
            around = parent if parent in graph.containers else None
            break
        at = parent
    else:
        around = settled[at]
    settled.update(dict.fromkeys(passed, around))


def _report_strays(graph: Graph, flow: Flow, enclosing: dict[str, str], findings: Findings) -> None:
    for node in graph.nodes.values():
        head = flow.stream_of.get(node.id)
        if head is None:
            continue
        root = flow.streams[head].root
        around, expected = enclosing.get(node.id), enclosing.get(root)
        if around == expected:
            continue
        if around is not None:
            message = f"{shown(node.id)} lies in the container {shown(around)}, not in its loop {shown(root)}"
            findings.add("container-member", node.pointer, message, element=node.id)
        else:
            message = f"{shown(node.id)} lies outside the container {shown(expected or '')} of its loop"
            findings.add("outside-container", node.pointer, message, element=node.id)
