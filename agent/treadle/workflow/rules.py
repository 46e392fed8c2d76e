"""Rules between settings: what fits a node's place in the flow, and a loop as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.workflow.loops import retry_of
from treadle.workflow.names import shown

if TYPE_CHECKING:
    from treadle.workflow.draft import Draft
    from treadle.workflow.findings import Findings
    from treadle.workflow.flow import Stream
    from treadle.workflow.graph import Edge, Node

_USING = ("producer", "blocking", "non-blocking")


def judge_nodes(draft: Draft, findings: Findings) -> None:
    """What each node needs where it stands."""
    for node in draft.graph.nodes.values():
        written = draft.written[node.id]
        if node.type in _USING:
            if node.data.get("uses") is None:
                _report_missing(node, "uses", "which node type it uses", findings)
        elif draft.flow.kind(node) == "queue-reader" and node.data.get("timeout") is None:
            _report_missing(node, "timeout", "how long to wait for a message in mid-chain", findings)
        if len(draft.flow.ins[node.id]) > 1:
            _judge_join(node, written, draft.flow.ins[node.id], findings)
        elif "join" in written:
            message = f"'join' has no effect: {shown(node.id)} has not two inputs"
            findings.add("misplaced-setting", f"{node.data_pointer}/join", message, element=node.id)
        _judge_retry(draft, node, written, findings)


def _report_missing(node: Node, key: str, meaning: str, findings: Findings) -> None:
    message = f"{shown(node.id)} does not say {meaning}: '{key}' is missing"
    findings.add("missing-setting", f"{node.data_pointer}/{key}", message, element=node.id)


def _judge_join(node: Node, written: dict[str, Any], edges: list[Edge], findings: Findings) -> None:
    if written.get("join", "all") != "all":
        return
    sources: dict[str, str] = {}
    for edge in edges:
        key = input_key(edge)
        # Edges from one source with different handles carry one item at a time, never two.
        if sources.setdefault(key, edge.source) != edge.source:
            message = f"{shown(node.id)} joins two inputs under the name {shown(key)}: one would hide the other"
            findings.add("join-key-clash", edge.pointer, message, element=edge.id)


def input_key(edge: Edge) -> str:
    """The name of an edge's payload in a join."""
    return edge.target_handle or edge.source


def _judge_retry(draft: Draft, node: Node, written: dict[str, Any], findings: Findings) -> None:
    head = draft.flow.stream_of.get(node.id)
    retry = written.get("retry")
    if not retry:
        return
    pointer = f"{node.data_pointer}/retry"
    merged = retry_of(draft, node.id)
    if merged.get("initial_backoff", 0.0) > merged.get("max_backoff", float("inf")):
        message = f"'retry.initial_backoff' of {shown(node.id)} is longer than its 'retry.max_backoff'"
        findings.add("bad-setting", f"{pointer}/initial_backoff", message, element=node.id)
    fed = head is None or draft.fed_by_queue(draft.flow.streams[head])
    if retry.get("on_exhausted") == "dead-letter" and not fed:
        message = f"no message feeds the loop of {shown(node.id)}: there is nothing to keep as a dead letter"
        findings.add("bad-retry", f"{pointer}/on_exhausted", message, element=node.id)


def judge_loops(draft: Draft, findings: Findings) -> None:
    """What each loop needs as a whole, its tails included."""
    members: dict[str, list[str]] = {}
    for stream in draft.flow.streams.values():
        members.setdefault(stream.root, []).extend(stream.members)
    for root, settings in draft.loop_settings.items():
        stream = draft.flow.streams[root]
        if "resources" in settings and settings.get("pool", "thread") != "process":
            message = f"the loop of {shown(root)} has `resources` and runs in the pool {settings.get('pool', 'thread')}"
            findings.add("resources-need-process", _settings_pointer(draft, root, "resources"), message, element=root)
        if settings.get("replicas", 1) > 1:
            _judge_replicas(draft, stream, members[root], findings)


def _judge_replicas(draft: Draft, stream: Stream, members: list[str], findings: Findings) -> None:
    pointer = _settings_pointer(draft, stream.root, "replicas")
    if not draft.fed_by_queue(stream):
        message = f"the loop of {shown(stream.root)} can't have replicas: its producer is no queue-reader"
        findings.add("bad-replicas", pointer, message, element=stream.root)
    for node in members:
        if node in draft.node_types and draft.node_types[node].stateful:
            message = f"the loop of {shown(stream.root)} can't have replicas: {shown(node)} keeps state"
            findings.add("bad-replicas", pointer, message, element=node)


def _settings_pointer(draft: Draft, producer: str, key: str) -> str:
    return f"{draft.node(producer).data_pointer}/{key}"
