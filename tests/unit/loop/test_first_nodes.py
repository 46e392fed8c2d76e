"""The nodes that a newcomer reads first run as they are written, in a thread and as a task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.loop.small import Small
from treadle import BlockingNode, LoopComplete, NodeData, Params, ProducerNode


class CountParams(Params):  # a pydantic model of `with`; unknown keys are errors
    limit: int = 1000


class Count(ProducerNode[CountParams]):
    """Emits n = 0, 1, 2, ... up to the limit, each exactly once."""

    uses = "example.count"
    stateful = True

    def execute(self) -> Any:
        n = self.state.get("n", 0)
        if n == self.params.limit:
            return LoopComplete()
        self.state["n"] = n + 1  # stored with the iteration's commit
        return {"n": n}


class Double(BlockingNode[Params]):
    uses = "example.double"

    async def execute(self, data: NodeData) -> Any:
        return data.replace(doubled=2 * data["n"])


@pytest.mark.parametrize("run_as", ["thread", "task"])
def test_count_and_double(run_as: str) -> None:
    small = Small(Count(CountParams(limit=3)), (Double(Params()),))
    manager, _ = small.open()
    outcome = manager.run() if run_as == "thread" else asyncio.run(manager.run_async())
    assert outcome.kind == "completed"
    assert small.out() == [{"n": n, "doubled": 2 * n} for n in range(3)]
