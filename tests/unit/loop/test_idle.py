"""A loop that waits for its first message goes without what only iterations need."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from tests.unit.loop.small import KEY, NO_PARAMS
from treadle import BlockingNode, NodeData, Params
from treadle.loop import LoopManager
from treadle.queues.memory import MemoryHost
from treadle.queues.tenure import TenureSpec
from treadle.workflow.plan import Input, Plan, Step

PLAN = Plan(
    "w",
    "l",
    (Step("in", "queue-reader", queues=("in",)), Step("n", "blocking", uses="n", inputs=(Input(0, None, "in"),))),
    digest="",
)


class Awaited(BlockingNode[Params]):
    async def execute(self, data: NodeData) -> Any:
        return data


class Opened(Awaited):
    opened_in = 0

    def open(self) -> None:
        self.opened_in = threading.get_ident()


def run_to_its_end(node: Awaited, seen: list[threading.Thread] | None = None) -> LoopManager:
    seen = [] if seen is None else seen

    async def run() -> LoopManager:
        host = MemoryHost("ns")
        tenure = await host.open(TenureSpec(KEY, 1, reads=("in",)))
        manager = LoopManager(PLAN, {"n": node}, tenure, on_open=lambda: seen.extend(threading.enumerate()))
        manager.drain()
        assert (await manager.run_async()).kind == "drained"
        return manager

    return asyncio.run(run())


def test_a_task_without_def_hooks_has_no_worker_thread() -> None:
    seen: list[threading.Thread] = []
    run_to_its_end(Awaited(NO_PARAMS), seen)
    assert seen
    assert not [each for each in seen if "worker" in each.name]


def test_a_def_hook_of_its_author_still_has_one() -> None:
    node, seen = Opened(NO_PARAMS), list[threading.Thread]()
    run_to_its_end(node, seen)
    assert [each for each in seen if "worker" in each.name]
    assert node.opened_in not in {0, threading.get_ident()}


def test_a_loop_that_never_had_work_shows_all_its_buckets() -> None:
    stats = run_to_its_end(Awaited(NO_PARAMS)).stats()
    assert (len(stats.durations), sum(stats.durations), stats.incidents) == (64, 0, ())
    assert [(len(node.durations), node.executions) for node in stats.nodes] == [(64, 0), (64, 0)]
