"""Draws React Flow documents for tests, and checks them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from treadle.workflow import Checked, Compiled, NodeType, Plan, check

STRICT = {
    "type": "object",
    "title": "StrictParams",
    "properties": {
        "limit": {"type": "integer", "title": "Limit", "default": 10},
        "path": {"type": "string"},
        "ratio": {"type": "number", "maximum": 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "every": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+s$"}]},
        "mode": {"enum": ["fast", "safe"], "type": "string"},
        "names": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["path"],
    "additionalProperties": False,
}

NODE_TYPES = {
    "t.source": NodeType("t.source", "producer"),
    "t.node": NodeType("t.node", "node"),
    "t.stateful": NodeType("t.stateful", "node", stateful=True),
    "t.strict": NodeType("t.strict", "node", schema=STRICT),
    "t.flat": NodeType(
        "t.flat",
        "node",
        schema={"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
    ),
    "t.broken": NodeType("t.broken", "node", schema={"type": "nonsense"}),
    "t.remote": NodeType("t.remote", "node", schema={"$ref": "http://127.0.0.1:9/schema.json"}),
}
_USES = {"producer": "t.source", "blocking": "t.node", "non-blocking": "t.node"}


class Drawing:
    """A React Flow document that grows call by call."""

    def __init__(self, **top: Any) -> None:
        self.top = top
        self.nodes: list[Any] = []
        self.edges: list[Any] = []

    def node(self, node_id: str, kind: str, /, *, parent: str | None = None, **data: Any) -> Drawing:
        if kind in _USES:
            data.setdefault("uses", _USES[kind])
        node: dict[str, Any] = {
            "id": node_id,
            "type": kind,
            "position": {"x": 10.5 * len(self.nodes), "y": 0},
            "data": {key.replace("with_", "with"): value for key, value in data.items()},
        }
        if parent is not None:
            node["parentId"] = parent
        self.nodes.append(node)
        return self

    def producer(self, node_id: str, **data: Any) -> Drawing:
        return self.node(node_id, "producer", **data)

    def blocking(self, *node_ids: str, **data: Any) -> Drawing:
        for node_id in node_ids:
            self.node(node_id, "blocking", **data)
        return self

    def non_blocking(self, node_id: str, **data: Any) -> Drawing:
        return self.node(node_id, "non-blocking", **data)

    def queue(self, node_id: str, **data: Any) -> Drawing:
        return self.node(node_id, "queue", **data)

    def reader(self, node_id: str, **data: Any) -> Drawing:
        return self.node(node_id, "queue-reader", **data)

    def edge(self, source: str, target: str, **more: Any) -> Drawing:
        order = more.pop("order", None)
        edge = {"id": f"e{len(self.edges)}", "source": source, "target": target, **more}
        if order is not None:
            edge["data"] = {"order": order}
        self.edges.append(edge)
        return self

    def path(self, *node_ids: str) -> Drawing:
        for source, target in pairwise(node_ids):
            self.edge(source, target)
        return self

    @property
    def document(self) -> dict[str, Any]:
        return {
            **self.top,
            "nodes": self.nodes,
            "edges": self.edges,
            "viewport": {"x": 0, "y": 0, "zoom": 1},
        }

    def checked(self, **options: Any) -> Checked:
        return checked(self.document, **options)

    def codes(self, **options: Any) -> list[str]:
        return [finding.code for finding in self.checked(**options).findings]

    def compiled(self, **options: Any) -> Compiled:
        return compiled(self.document, **options)

    def plan(self, loop: str, **options: Any) -> Plan:
        return plan(self.compiled(**options), loop)


def checked(document: Any, **options: Any) -> Checked:
    return check(document, **{"name": "flow", "node_types": NODE_TYPES, **options})


def compiled(document: Any, **options: Any) -> Compiled:
    result = checked(document, **options)
    assert result.compiled is not None, result.findings
    return result.compiled


def plan(compiled: Compiled, loop: str) -> Plan:
    return next(plan for plan in compiled.plans if plan.loop == loop)


def nodes_of(plan: Plan) -> list[str]:
    return [step.node for step in plan.steps]


def shop() -> Drawing:
    """Two loops, joined by a queue, with a tail of its own in the first."""
    return (
        Drawing()
        .producer("tick", interval="1s", pool="thread")
        .blocking("check")
        .non_blocking("send", retry={"max_attempts": 5, "initial_backoff": "50ms"})
        .blocking("after")
        .queue("out")
        .reader("orders", queue="orders", pool="asyncio")
        .blocking("store", uses="t.strict", with_={"path": "x", "limit": 3})
        .path("tick", "check", "out")
        .path("check", "send", "after")
        .path("out", "orders", "store")
    )
