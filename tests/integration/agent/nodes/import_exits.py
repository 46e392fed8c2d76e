"""A module that can be looked at, and ends every process in which loops run."""

from __future__ import annotations

import os
from typing import Any

from treadle import BlockingNode, NodeData, Params

if not os.environ.get("TREADLE_CHILD", "catalog").startswith("catalog"):
    os._exit(7)


class Exits(BlockingNode[Params]):
    """Passes on."""

    uses = "test.exits"

    def execute(self, data: NodeData) -> Any:
        return data
