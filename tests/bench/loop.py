"""What a LoopManager costs: iterations per CPU second, beside the same nodes called by hand in the same run.

A producer and three nodes that add a field. Nothing is pushed, so nothing waits for a server: what is measured is
the loop itself. Both sides run in turns; each side's figure is its best round. The LoopManager may be the faster one:
while iterations take some microseconds it times one in many (treadle.loop.tally).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import uvloop

from tests.bench import loop_reference
from treadle import BlockingNode, LoopComplete, NodeData, Params, ProducerNode
from treadle.loop import LoopManager, build_nodes
from treadle.queues.memory import MemoryHost
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.workflow.plan import Input, Plan, Step

Rate = float  # iterations per CPU second


class Limit(Params):
    """How many iterations."""

    limit: int


class Number(ProducerNode[Limit]):
    """Emits numbers."""

    uses = "bench.number"

    def open(self) -> None:
        self.n = 0

    def execute(self) -> Any:
        n = self.n = self.n + 1
        return NodeData({"n": n}) if n <= self.params.limit else LoopComplete()


class Add(BlockingNode[Params]):
    """Adds a field."""

    uses = "bench.add"

    def execute(self, data: NodeData) -> NodeData:
        return data.replace(added=data["n"] + 1)


class NumberAsync(Number):
    """Emits numbers, and lets the event loop take a turn for each."""

    uses = "bench.number-async"

    async def execute(self) -> Any:
        await asyncio.sleep(0)
        n = self.n = self.n + 1
        return NodeData({"n": n}) if n <= self.params.limit else LoopComplete()


class AddAsync(BlockingNode[Params]):
    """Adds a field."""

    uses = "bench.add-async"

    async def execute(self, data: NodeData) -> NodeData:
        return data.replace(added=data["n"] + 1)


CATALOG = {each.uses: each for each in (Number, Add, NumberAsync, AddAsync)}


def plan_of(producer: str, node: str, iterations: int) -> Plan:
    """Return a producer and three nodes in a line."""
    first = Step("number", "producer", uses=producer, params={"limit": iterations})
    line = [Step(f"add{at}", "blocking", uses=node, inputs=(Input(at - 1, None, "in"),)) for at in (1, 2, 3)]
    return Plan("bench", "line", (first, *line), digest="")


def manager_of(plan: Plan) -> LoopManager:
    """Return a LoopManager of its own for a plan."""
    tenure = MemoryHost("bench").incarnate(TenureSpec(LoopKey("bench", plan.loop), epoch=1))
    return LoopManager(plan, build_nodes(plan, CATALOG), tenure)


def by_manager(iterations: int) -> Rate:
    """Run a thread loop."""
    return in_thread(manager_of(plan_of("bench.number", "bench.add", iterations)).run, iterations)


def by_hand(iterations: int) -> Rate:
    """Run the reference."""
    producer, *nodes = opened("bench.number", "bench.add", iterations)
    return in_thread(lambda: loop_reference.iterate(producer, nodes, iterations), iterations)


def by_manager_async(iterations: int) -> Rate:
    """Run an asyncio loop."""
    manager = manager_of(plan_of("bench.number-async", "bench.add-async", iterations))
    return in_thread(lambda: on_uvloop(manager.run_async), iterations)


def by_hand_async(iterations: int) -> Rate:
    """Run the reference on an event loop."""
    producer, *nodes = opened("bench.number-async", "bench.add-async", iterations)
    return in_thread(lambda: on_uvloop(lambda: loop_reference.iterate_async(producer, nodes, iterations)), iterations)


def opened(producer: str, node: str, iterations: int) -> list[Any]:
    """Return the node objects of a plan, ready to be called by hand."""
    nodes = list(build_nodes(plan_of(producer, node, iterations), CATALOG).values())
    for each in nodes:
        each.open()
    return nodes


def on_uvloop(coroutine: Callable[[], Any]) -> Any:
    """Run a coroutine on a uvloop event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine())


def in_thread(work: Callable[[], Any], iterations: int) -> Rate:
    """Run work in a thread of its own, as a thread loop runs, and return iterations per second of its CPU time."""
    spent: list[float] = []

    def timed() -> None:
        start = time.thread_time()
        work()
        spent.append(time.thread_time() - start)

    thread = threading.Thread(target=timed, name="bench loop")
    thread.start()
    thread.join()
    return iterations / spent[0]


def best_of(rounds: int, iterations: int, *sides: Callable[[int], Rate]) -> list[Rate]:
    """Run the sides in turns and return the best rate of each."""
    rates: list[list[Rate]] = [[side(iterations) for side in sides] for _ in range(rounds)]
    return [max(column) for column in zip(*rates, strict=True)]


def main(*, quick: bool) -> dict[str, Any]:
    """Measure; quick ends within ten seconds."""
    rounds, iterations = (5, 60_000) if quick else (9, 300_000)
    sync, sync_by_hand = best_of(rounds, iterations, by_manager, by_hand)
    task, task_by_hand = best_of(rounds, iterations // 3, by_manager_async, by_hand_async)
    return {
        "bench": "loop",
        "ratios": {
            "sync_vs_instrumented": round(sync / sync_by_hand, 3),
            "asyncio_vs_instrumented": round(task / task_by_hand, 3),
        },
        "figures": {
            "sync_iterations_per_cpu_s": round(sync),
            "sync_by_hand_per_cpu_s": round(sync_by_hand),
            "asyncio_iterations_per_cpu_s": round(task),
            "asyncio_by_hand_per_cpu_s": round(task_by_hand),
        },
    }
