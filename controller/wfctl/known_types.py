"""The node types of this installation, remembered between runs: describing them takes longer than checking a document.

What is remembered is JSON in the user's cache folder, and belongs to the files that it was made from: when one of them
changes, or another package offers node types too, it is made anew. It is a shortcut only; nothing breaks without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from treadle.workflow.node_type import NodeType

_log = logging.getLogger(__name__)
_GROUP: Final = "treadle.nodes"
_OURS: Final = "treadle.nodes"


def load(nodes: Sequence[str] = ()) -> tuple[dict[str, NodeType], list[str]]:
    """Return node types by `uses`, those of further modules included, and a sentence for each module that is bad."""
    others = {entry.value for entry in entry_points(group=_GROUP)} - {_OURS}
    if nodes or others:
        return _described(nodes)
    file = _file()
    found = _read(file)
    if found is None:
        found, problems = _described(())
        if problems:
            return found, problems
        _write(file, found)
    return found, []


def _described(nodes: Sequence[str]) -> tuple[dict[str, NodeType], list[str]]:
    from treadle import catalog

    found = catalog.load(entry_points=True, paths=nodes)
    return {node_type.uses: node_type for node_type in found.types}, [str(error) for error in found.errors]


def _file() -> Path:
    """Return where the types are remembered: named after all that they depend on."""
    total = hashlib.sha256(f"1 {sys.version} {version('treadle')} {version('pydantic')}".encode())
    spec = find_spec("treadle")
    folder = Path(spec.origin or "").parent if spec is not None else Path()
    for path in sorted([folder / "catalog.py", folder / "node.py", *folder.glob("nodes/*.py")]):
        stat = path.stat()
        total.update(f"{path} {stat.st_mtime_ns} {stat.st_size}\n".encode())
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "wfctl" / f"node-types-{total.hexdigest()[:16]}.json"


def _read(file: Path) -> dict[str, NodeType] | None:
    try:
        return {item["uses"]: NodeType(**item) for item in json.loads(file.read_bytes())}
    except (OSError, ValueError, TypeError, KeyError):
        return None  # not there, or spoilt: it is made again


def _write(file: Path, found: dict[str, NodeType]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as fresh:
            json.dump([asdict(node_type) for node_type in found.values()], fresh)
        for old in file.parent.glob("node-types-*.json"):
            old.unlink(missing_ok=True)
        Path(fresh.name).replace(file)
    except OSError as exc:
        _log.debug("nothing is remembered: %s", exc)  # no room, or no home: the next run takes longer, that is all
