"""A module that can be looked at, and hangs where the loops of a shared host run."""

from __future__ import annotations

import os
import threading
from typing import Any

from treadle import BlockingNode, NodeData, Params

if os.environ.get("TREADLE_CHILD", "").startswith(("thread", "asyncio")):
    threading.Event().wait()


class Late(BlockingNode[Params]):
    """Passes on."""

    uses = "test.late"

    def execute(self, data: NodeData) -> Any:
        return data
