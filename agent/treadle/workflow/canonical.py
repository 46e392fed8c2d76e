"""The canonical form of a document: what `wfctl fmt` writes.

What runs comes first, sorted, a line for each setting; how it is drawn comes after it in each element, a line for each
key. So moving a box touches one line, and saving the drawing again touches nothing but what was moved. Every key is
kept, but for the marks of an editing session: what is selected, dragged or resized at the moment.
"""

from __future__ import annotations

import json
from typing import Any, Final

from treadle.workflow.graph import locate
from treadle.workflow.plain import plain

_MARKS: Final = frozenset({"selected", "dragging", "resizing"})
_TOP_FIRST: Final = ("name", "description", "defaults", "rollout")
_TOP_LAST: Final = ("nodes", "edges", "viewport")
_NODE_FIRST: Final = ("id", "type", "parentId", "parentNode", "data")
_EDGE_FIRST: Final = ("id", "source", "sourceHandle", "target", "targetHandle", "data")


def canonical(document: Any) -> str:
    """The document as text that ends in a newline; the same for every document that means and looks the same."""
    document = plain(document)
    found = locate(document)
    if found is None:
        return _text(document, "") + "\n"
    inner, pointer = found
    if not pointer:
        return _graph(inner, "") + "\n"
    wrapper = {key: _text(document[key], "  ") for key in sorted(document) if document[key] is not inner}
    wrapper[pointer[1:]] = _graph(inner, "  ")
    return _object(wrapper, "") + "\n"


def _graph(graph: dict[str, Any], indent: str) -> str:
    below = indent + "  "
    keys = [*(key for key in _TOP_FIRST if key in graph), *sorted(graph.keys() - {*_TOP_FIRST, *_TOP_LAST})]
    lines = {key: _text(graph[key], below) for key in keys}
    if isinstance(graph.get("nodes"), list):
        lines["nodes"] = _elements(_sorted_nodes(graph["nodes"]), _NODE_FIRST, below)
    if isinstance(graph.get("edges"), list):
        lines["edges"] = _elements(sorted(graph["edges"], key=_edge_rank), _EDGE_FIRST, below)
    for key in _TOP_LAST:
        if key in graph and key not in lines:
            lines[key] = _flat(graph[key]) if key == "viewport" else _text(graph[key], below)
    return _object(lines, indent)


def _elements(items: list[Any], first: tuple[str, ...], indent: str) -> str:
    if not items:
        return "[]"
    below = indent + "  "
    texts = ",\n".join(below + _element(item, first, below) for item in items)
    return f"[\n{texts}\n{indent}]"


def _element(item: Any, first: tuple[str, ...], indent: str) -> str:
    if not isinstance(item, dict):
        return _text(item, indent)
    lines = {key: _text(item[key], indent + "  ") for key in first if key in item}
    lines.update({key: _flat(item[key]) for key in sorted(item.keys() - {*first, *_MARKS})})
    return _object(lines, indent)


def _object(lines: dict[str, str], indent: str) -> str:
    if not lines:
        return "{}"
    body = ",\n".join(f"{indent}  {_flat(key)}: {text}" for key, text in lines.items())
    return f"{{\n{body}\n{indent}}}"


def _text(value: Any, indent: str) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).replace("\n", "\n" + indent)


def _flat(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _sorted_nodes(nodes: list[Any]) -> list[Any]:
    """By id, but parents before their children, as React Flow demands."""
    depths = _depths({_key(node, "id"): _parent(node) for node in nodes})
    return sorted(nodes, key=lambda node: (depths[_key(node, "id")], _key(node, "id"), _flat(node)))


def _depths(parents: dict[str, str]) -> dict[str, int]:
    """How many parents are above each node; for those on or below a cycle of parents, more than there are nodes."""
    children: dict[str, list[str]] = {}
    for node, parent in parents.items():
        children.setdefault(parent, []).append(node)
    depths = dict.fromkeys(parents, len(parents))
    level = [node for node, parent in parents.items() if parent not in parents]
    depth = 0
    while level:
        depths.update(dict.fromkeys(level, depth))
        level = [child for node in level for child in children.get(node, ())]
        depth += 1
    return depths


def _parent(node: Any) -> str:
    return _key(node, "parentId") or _key(node, "parentNode")


def _edge_rank(edge: Any) -> tuple[str, float, str, str, str]:
    data = edge.get("data") if isinstance(edge, dict) else None
    order = data.get("order", 0) if isinstance(data, dict) else 0
    order = order if isinstance(order, int | float) else 0
    return _key(edge, "source"), order, _key(edge, "target"), _key(edge, "id"), _flat(edge)


def _key(item: Any, key: str) -> str:
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, str) else ""
