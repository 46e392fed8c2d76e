"""A module that can be looked at, and hangs wherever loops run."""

from __future__ import annotations

import os
import threading
from typing import Any

from treadle import BlockingNode, NodeData, Params

if not os.environ.get("TREADLE_CHILD", "catalog").startswith("catalog"):
    threading.Event().wait()


class Hangs(BlockingNode[Params]):
    """Passes on."""

    uses = "test.hangs"

    def execute(self, data: NodeData) -> Any:
        return data
