"""Semantic digests: what an author wrote about a loop or a workflow, and nothing of how it is drawn.

Durations are normalised and queues are named by what they resolve to; defaults are not filled in, so an upgrade that
changes one restarts nothing; labels, layout and the order of arrays do not occur. Limits of queues belong to the
workflow's digest only: they change without restarting a loop.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from treadle.workflow.loops import retry_of
from treadle.workflow.plain import plain
from treadle.workflow.queue_table import limits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.workflow.draft import Draft
    from treadle.workflow.flow import Stream
    from treadle.workflow.graph import Edge

VERSION: Final = "v1"


def loop_digest(draft: Draft, stream: Stream, members: list[str]) -> str:
    """The digest of one loop; a tail's covers what hangs below its head and the settings that it inherits."""
    settings = draft.loop_settings[stream.root]
    is_tail = stream.parent is not None
    inside = set(members)
    nodes = members if is_tail else [stream.head, *members]
    return _digest(
        {
            "tail": is_tail,
            "settings": {key: value for key, value in settings.items() if not is_tail or key != "interval"},
            "max_deliveries": draft.written[stream.root].get("max_deliveries"),
            "nodes": {node: _node(draft, node) for node in nodes},
            "edges": {node: edges for node in (stream.head, *members) if (edges := _edges(draft, node, inside))},
        }
    )


def workflow_digest(draft: Draft, loops: Mapping[str, str]) -> str:
    """The digest of a whole workflow: its loops, its queues and how it is rolled out."""
    queues: dict[str, dict[str, Any]] = {}
    for node, written in draft.written.items():
        named = (draft.pushes[node],) if node in draft.pushes else draft.reads.get(node, ())
        for queue in named:
            said = queues.setdefault(_relative(queue), {})
            if "limits" in written:
                limits = limits_of(written["limits"])
                said["limits"] = [limits.messages, limits.bytes, limits.when_full]
            if written.get("external"):
                said["external"] = True
    return _digest({"loops": dict(loops), "queues": queues, "rollout": draft.top["rollout"]})


def _node(draft: Draft, node_id: str) -> dict[str, Any]:
    written = draft.written[node_id]
    said: dict[str, Any] = {"type": draft.node(node_id).type}
    for key in ("uses", "join", "timeout", "on_empty", "attempt_timeout", "max_deliveries"):
        if key in written:
            said[key] = written[key]
    if written.get("with"):
        said["with"] = plain(written["with"])
    retry = retry_of(draft, node_id)
    if retry:
        said["retry"] = retry
    if node_id in draft.pushes:
        said["push"] = _relative(draft.pushes[node_id])
    elif node_id in draft.reads:
        said["read"] = [_relative(queue) for queue in draft.reads[node_id]]
    elif written.get("queues"):
        said["queues"] = {end: sorted(names) for end, names in written["queues"].items() if names}
    tail = draft.flow.streams.get(node_id)
    if tail is not None and tail.parent is not None:
        said["tail"] = True
    return said


def _edges(draft: Draft, source: str, inside: set[str]) -> list[list[str | None]]:
    """The edges out of a node in sibling order, which is all that `order` and the edges' ids decide."""
    edges: list[Edge] = draft.flow.outs[source]
    return [[edge.target, edge.source_handle, edge.target_handle] for edge in edges if edge.target in inside]


def _relative(queue: str) -> str:
    """A derived queue name without the workflow's: a workflow stored under another name is the same workflow."""
    return queue if "~" not in queue else queue[queue.index("~") :]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{VERSION}:{hashlib.sha256(text.encode()).hexdigest()}"
