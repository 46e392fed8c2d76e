"""A node that counts what it passes on, in two versions."""

from __future__ import annotations

from typing import Any

from treadle import BlockingNode, NodeData, Params

VERSION: int = 1


class Tally(Params):
    """Which version of the workflow it is."""

    version: int


class TallyNode(BlockingNode[Tally]):
    """Passes on, and counts."""

    uses = "test.tally"
    stateful = True
    state_version = VERSION
    inline = True

    def execute(self, data: NodeData) -> Any:
        key = "seen" if VERSION == 1 else "count"  # the second version calls it something else
        seen = self.state[key] = self.state.get(key, 0) + 1
        return {"n": data["n"], "seen": seen, "version": self.params.version + 1000 * (VERSION - 1)}

    def migrate(self, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        return {"count": state["seen"]} if from_version == 1 else state
