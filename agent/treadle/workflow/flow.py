"""The flow: which edges order the execution, where loops begin, and what each node belongs to.

A **stream** is what runs as one loop: a producer with the awaited nodes below it, or the tail of a non-blocking node.
It is known by its head, the id of that producer or non-blocking node. A tail that holds queue nodes only is no stream
of its own: its nodes belong to the stream of the non-blocking node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from treadle.workflow.cycles import components, path_through, printed, topological
from treadle.workflow.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.workflow.findings import Findings
    from treadle.workflow.graph import Edge, Graph, Node

MAX_TAILS: Final = 16  # tails within tails: their names grow with the depth


@dataclass(slots=True)
class Stream:
    """One loop to be: its head, the producer at its root, the stream it is a tail of, and its nodes.

    `members` begins with the producer; that of a tail holds only what hangs below its head.
    """

    head: str
    root: str
    parent: str | None = None
    depth: int = 0  # how many tails deep it lies
    members: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Flow:
    """The edges that order the execution, by source and by target, and the bindings between queues and readers."""

    outs: dict[str, list[Edge]]
    ins: dict[str, list[Edge]]
    bindings: list[Edge] = field(default_factory=list)
    producers: list[str] = field(default_factory=list)  # sorted
    streams: dict[str, Stream] = field(default_factory=dict)  # by head; a tail after its parent
    stream_of: dict[str, str] = field(default_factory=dict)  # node -> head of its stream

    def kind(self, node: Node) -> str:
        """The key of the node's settings: a queue-reader that starts a loop is a "reader"."""
        return "reader" if node.type == "queue-reader" and node.id in self.streams else node.type


def trace(graph: Graph, findings: Findings) -> Flow:
    """Sort the edges, find the loops, and say what can't be one."""
    flow = Flow(outs={node: [] for node in graph.nodes}, ins={node: [] for node in graph.nodes})
    for edge in graph.edges:
        _sort_in(edge, graph, flow, findings)
    for edges in flow.outs.values():
        if len(edges) > 1:
            edges.sort(key=lambda edge: edge.rank)
    flow.producers = sorted(node.id for node in graph.nodes.values() if _starts_loop(node, graph, flow))
    targets = {node: [edge.target for edge in edges] for node, edges in flow.outs.items()}
    order, behind = topological(targets)
    looped = _report_cycles({node: [t for t in targets[node] if t in behind] for node in behind}, graph, findings)
    _report_unreachable(graph, flow, looped, findings)
    _divide(order, graph, flow, findings)
    if not flow.producers and not graph.unknown:
        findings.add("empty-workflow", "", "no node starts a loop")
    return flow


def _sort_in(edge: Edge, graph: Graph, flow: Flow, findings: Findings) -> None:
    source, target = graph.nodes[edge.source], graph.nodes[edge.target]
    if source.type == "queue" and target.type == "queue-reader":
        flow.bindings.append(edge)
    elif source is target:
        message = f"{shown(source.id)} is connected to itself: {source.id} -> {source.id}"
        findings.add("self-edge", edge.pointer, message, element=source.id)
    elif target.type == "producer":
        message = f"the edge from {shown(source.id)} leads into the producer {shown(target.id)}"
        findings.add("producer-input", edge.pointer, message, element=target.id)
    else:
        flow.outs[source.id].append(edge)
        flow.ins[target.id].append(edge)


def _starts_loop(node: Node, graph: Graph, flow: Flow) -> bool:
    if node.type == "producer":
        return True
    return node.type == "queue-reader" and not flow.ins[node.id] and node.id not in graph.excused


def _report_cycles(outs: dict[str, list[str]], graph: Graph, findings: Findings) -> set[str]:
    """One finding for each knot of cycles; returns the nodes in them."""
    looped: set[str] = set()
    for members in components(outs):
        looped.update(members)
        path = path_through(members, outs)
        message = f"the nodes form a cycle: {printed(path)}"
        findings.add("cycle", graph.nodes[path[0]].pointer, message, element=path[0])
    return looped


def _report_unreachable(graph: Graph, flow: Flow, looped: set[str], findings: Findings) -> None:
    reached = _reach(flow.producers, flow)
    # Below a cycle or a node of unknown type the cause has been reported.
    excused = _reach([*looped, *graph.excused], flow)
    for node in graph.nodes.values():
        if node.id not in reached and node.id not in excused:
            message = f"no producer reaches {shown(node.id)}"
            findings.add("unreachable-node", node.pointer, message, element=node.id)


def _reach(starts: Iterable[str], flow: Flow) -> set[str]:
    reached = set(starts)
    pending = list(reached)
    while pending:
        for edge in flow.outs[pending.pop()]:
            if edge.target not in reached:
                reached.add(edge.target)
                pending.append(edge.target)
    return reached


def _divide(order: list[str], graph: Graph, flow: Flow, findings: Findings) -> None:
    """Give each node to a stream, predecessors first."""
    starts = set(flow.producers)
    root: dict[str, str] = {}
    for node_id in order:
        if node_id in starts:
            head = node_id
            flow.streams[head] = Stream(head, root=head)
        else:
            heads = {_head_below(edge.source, graph, flow) for edge in flow.ins[node_id]} - {None}
            if not heads:
                continue  # reported as unreachable, or lies behind a cycle
            head = _one_head([h for h in heads if h], graph.nodes[node_id], root, findings)
            if head not in flow.streams:
                _open_tail(graph.nodes[head], flow, findings)
        root[node_id] = flow.streams[head].root
        flow.stream_of[node_id] = head
        flow.streams[head].members.append(node_id)
    for stream in list(flow.streams.values()):
        if stream.parent is not None and all(graph.nodes[node].type == "queue" for node in stream.members):
            _inline(stream, flow.streams[stream.parent], flow)


def _head_below(source: str, graph: Graph, flow: Flow) -> str | None:
    """The head of the stream to which the successors of the source belong."""
    if source in flow.stream_of and graph.nodes[source].type == "non-blocking":
        return source
    return flow.stream_of.get(source)


def _one_head(heads: list[str], node: Node, root: dict[str, str], findings: Findings) -> str:
    if len(heads) == 1:
        return heads[0]
    roots = sorted({root[head] for head in heads})
    if len(roots) > 1:
        loops = ", ".join(shown(name) for name in roots[:8])
        message = f"{shown(node.id)} is reached from the producers {loops}"
        findings.add("shared-node", node.pointer, message, element=node.id)
    else:
        tails = ", ".join(shown(head) for head in sorted(heads) if head not in roots)
        message = f"{shown(node.id)} joins what is awaited, or another tail, with what hangs below {tails}"
        findings.add("mixed-join", node.pointer, message, element=node.id)
    return min(heads)


def _open_tail(head: Node, flow: Flow, findings: Findings) -> None:
    parent = flow.streams[flow.stream_of[head.id]]
    flow.streams[head.id] = Stream(head.id, root=parent.root, parent=parent.head, depth=parent.depth + 1)
    if parent.depth == MAX_TAILS:  # said once: what lies deeper is below it
        message = f"{shown(head.id)} lies below {MAX_TAILS} other non-blocking nodes, and has a tail of its own"
        findings.add("deep-tail", head.pointer, message, element=head.id)


def _inline(stream: Stream, parent: Stream, flow: Flow) -> None:
    """Queue nodes alone need no loop: their pushes join the iteration of the non-blocking node."""
    for node in stream.members:
        flow.stream_of[node] = parent.head
    parent.members += stream.members
    del flow.streams[stream.head]
