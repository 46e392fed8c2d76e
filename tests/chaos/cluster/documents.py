"""The workflows of the simulation: loops in both shapes of pool, replicas, a tail, one that completes."""

from __future__ import annotations

import json
from typing import Any


def documents(version: int) -> dict[str, bytes]:
    """Return the documents by name; each version changes some loops, and every third one drops a loop."""
    first = [
        _node("plain", "producer", {"uses": "sim.source", "with": {"v": version}}),
        _node("heavy", "producer", {"uses": "sim.source", "pool": "process"}),
        _node("once", "producer", {"uses": "sim.source"}),
        _node("feed", "producer", {"uses": "sim.source"}),
        _node("feed-work", "non-blocking", {"uses": "sim.work", "with": {"v": version % 2}}),
        _node("feed-after", "blocking", {"uses": "sim.work"}),
        _node("feed-out", "queue", {"queue": "q"}),
    ]
    links = [("feed", "feed-work"), ("feed-work", "feed-after"), ("feed-after", "feed-out")]
    second = [
        _node("take", "queue-reader", {"queue": "q", "external": True, "replicas": 2}),
        _node("take-work", "blocking", {"uses": "sim.work", "with": {"v": version}}),
    ]
    if version % 3 != 2:
        second.append(_node("extra", "producer", {"uses": "sim.source"}))
    return {"first": _document("first", first, links), "second": _document("second", second, [("take", "take-work")])}


def many(workflow: str, loops: int) -> bytes:
    """Return a workflow of loops that only exist."""
    return _document(workflow, [_node(f"l{number}", "producer", {"uses": "sim.source"}) for number in range(loops)], [])


def _document(name: str, nodes: list[dict[str, Any]], links: list[tuple[str, str]]) -> bytes:
    edges = [{"id": f"{source}-{target}", "source": source, "target": target} for source, target in links]
    return json.dumps({"name": name, "nodes": nodes, "edges": edges}).encode()


def _node(name: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "data": data}
