"""Workflow documents made for the tests, in the form that React Flow saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def node(name: str, kind: str, x: int, **data: Any) -> Document:
    return {"id": name, "type": kind, "position": {"x": x, "y": 0}, "data": data}


def edges(*pairs: tuple[str, str]) -> list[Document]:
    return [{"id": f"{source}-{target}", "source": source, "target": target} for source, target in pairs]


def ledger(name: str, *, limit: int | None = None, interval: str | None = None, **first: Any) -> Document:
    """Numbers through a queue into a table: what is lost, or done twice, shows in the table.

    Loops: `count` (thread), `move` (asyncio) and `store` (process).
    """
    made = {} if limit is None else {"limit": limit}
    settings = {"pool": "thread", **({} if interval is None else {"interval": interval}), **first}
    columns = {"n": "integer", "twice": "integer"}
    insert = {"url": f"sqlite:///{name}.db", "table": "t", "columns": columns}
    return {
        "name": name,
        "nodes": [
            node("count", "producer", 0, uses="generate", **{"with": made}, **settings),
            node("put", "queue", 200, queue=f"{name}-numbers"),
            node("move", "queue-reader", 400, queue=f"{name}-numbers", pool="asyncio"),
            node("double", "blocking", 600, uses="transform", **{"with": {"set": {"twice": "data.n * 2"}}}),
            node("hand-on", "queue", 800, queue=f"{name}-doubled"),
            node("store", "queue-reader", 1000, queue=f"{name}-doubled", pool="process"),
            node(
                "insert",
                "blocking",
                1200,
                uses="sql.insert",
                **{"with": insert},
            ),
        ],
        "edges": edges(
            ("count", "put"),
            ("put", "move"),
            ("move", "double"),
            ("double", "hand-on"),
            ("hand-on", "store"),
            ("store", "insert"),
        ),
        "viewport": {"x": 0, "y": 0, "zoom": 1},
    }


def save(folder: Path, document: Document, file: str | None = None) -> str:
    """Write a document and return its path."""
    path = folder / (file or f"{document.get('name', 'document')}.json")
    path.write_text(json.dumps(document))
    return str(path)
