"""A counter, and a node that hands on what it gets: whatever ends in the ledger can be counted."""

from __future__ import annotations

from typing import Any

from treadle import BlockingNode, NodeData, Params, ProducerNode


class Count(ProducerNode[Params]):
    """Emits n = 0, 1, 2, ... for ever, each exactly once."""

    uses = "ledger.count"
    stateful = True

    def execute(self) -> dict[str, Any]:
        n = self.state.get("n", 0)
        self.state["n"] = n + 1
        return {"n": n}


class Hand(BlockingNode[Params]):
    """Hands on what it gets."""

    uses = "ledger.hand"

    def execute(self, data: NodeData) -> NodeData:
        return data


class Break(BlockingNode[Params]):
    """Raises at once, always."""

    uses = "ledger.break"

    def execute(self, data: NodeData) -> NodeData:
        raise RuntimeError("this revision is bad")
