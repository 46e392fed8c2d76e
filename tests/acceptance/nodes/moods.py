"""Nodes that are slow, fail, or make large messages."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from treadle import BlockingNode, NodeData, Params, ProducerNode


class Pace(Params):
    """How long an execution takes, and how large what it makes is."""

    seconds: float = 0.0
    bytes: int = 0


class Make(ProducerNode[Pace]):
    """Makes messages."""

    uses = "test.make"

    def execute(self) -> Any:
        self.context.wait(self.params.seconds)
        return {"filler": "x" * self.params.bytes}


class Slow(BlockingNode[Pace]):
    """Takes its time."""

    uses = "test.slow"

    def execute(self, data: NodeData) -> Any:
        time.sleep(self.params.seconds)
        return data


class Missing(Params):
    """A file that ought to be there."""

    path: str


class Picky(BlockingNode[Missing]):
    """Reads a file."""

    uses = "test.picky"

    def execute(self, data: NodeData) -> Any:
        return data.replace(text=Path(self.params.path).read_text())
