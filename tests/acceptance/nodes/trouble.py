"""Nodes that fail while a file is there."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from treadle import BlockingNode, NodeData, Params, ProducerNode


class Flag(Params):
    """The file."""

    flag: str


class Broken(ProducerNode[Flag]):
    """Counts, or raises."""

    uses = "test.broken"

    def execute(self) -> Any:
        if Path(self.params.flag).exists():
            raise ValueError("the machine is on fire")
        self.context.wait(0.05)
        return {"n": 1}


class Deadly(BlockingNode[Flag]):
    """Passes on; message 3 ends the process."""

    uses = "test.deadly"

    def execute(self, data: NodeData) -> Any:
        if data["n"] == 3 and Path(self.params.flag).exists():
            ctypes.string_at(0)
        return data


class Picky(BlockingNode[Params]):
    """Takes nothing."""

    uses = "test.picky"

    def execute(self, data: NodeData) -> None:
        raise ValueError(f"not {data['n']}")
