"""The loops of the queue benchmark, each in a process of its own, as in a loop process of an agent."""

from __future__ import annotations

import gc
import time
from multiprocessing.connection import Connection
from typing import Any

from treadle import BlockingNode, LoopComplete, NodeData, Params, ProducerNode
from treadle.loop import LoopManager, build_nodes, collector
from treadle.queues.redis_host import RedisHost
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.workflow.plan import Input, Plan, QueueLimits, Step

WORKFLOW = "bench"
UNBOUNDED = QueueLimits(None, None)
TEXT, MORE = "x" * 60, "y" * 84  # with the other fields: 200 bytes on the wire


class SourceParams(Params):
    """How many messages, and how many a second (0: as fast as it goes)."""

    count: int
    rate: float = 0.0


class Source(ProducerNode[SourceParams]):
    """Emits dict payloads of 200 bytes."""

    uses = "bench.source"

    def open(self) -> None:
        self.n = 0
        self.due = time.monotonic()

    def execute(self) -> Any:
        n = self.n
        if n == self.params.count:
            return LoopComplete()
        if self.params.rate:
            self.due += 1 / self.params.rate
            time.sleep(max(0.0, self.due - time.monotonic()))
        self.n = n + 1
        return {"n": n, "name": TEXT, "value": 1.5, "sent": time.monotonic_ns(), "text": MORE}


class Pass(BlockingNode[Params]):
    """Hands on what it gets."""

    uses = "bench.pass"

    def execute(self, data: NodeData) -> NodeData:
        return data


class Tally(BlockingNode[Params]):
    """Notes which messages it gets."""

    uses = "bench.tally"

    def open(self) -> None:
        self.noted: list[int] = []

    def execute(self, data: NodeData) -> None:
        self.noted.append(data["n"])


class Sink(BlockingNode[Params]):
    """Notes when messages arrive."""

    uses = "bench.sink"

    def open(self) -> None:
        self.delays: list[int] = []

    def execute(self, data: NodeData) -> None:
        self.delays.append(time.monotonic_ns() - data["sent"])


class Count(BlockingNode[Params]):
    """Takes what it gets, in order."""

    uses = "bench.count"

    def open(self) -> None:
        self.n = 0

    def execute(self, data: NodeData) -> None:
        if data["n"] != self.n:
            message = f"message {data['n']} came instead of {self.n}"
            raise ValueError(message)
        self.n += 1


CLASSES: dict[str, Any] = {each.uses: each for each in (Source, Pass, Sink, Count, Tally)}


def plan(name: str, *, read: str | None, uses: str, write: str | None, params: dict[str, Any] | None = None) -> Plan:
    """Return a loop of one node, with a queue before it or behind it or both."""
    first = Input(0, None, "in")
    steps: list[Step] = []
    if read is None:
        steps.append(Step("node", "producer", uses=uses, params=params or {}))
    else:
        steps.append(Step("reader", "queue-reader", queues=(read,)))
        steps.append(Step("node", "blocking", uses=uses, inputs=(first,)))
    if write is not None:
        steps.append(Step("out", "queue", queue=write, inputs=(Input(len(steps) - 1, None, "in"),)))
    return Plan(WORKFLOW, name, tuple(steps), digest="")


def run_loop(url: str, namespace: str, loop_plan: Plan, pipe: Connection) -> None:
    """Open, say so, wait for the word, run, and report CPU seconds, when it was done, and delays."""
    host = RedisHost.in_thread(url, namespace, loop_plan.loop)
    nodes = build_nodes(loop_plan, CLASSES)
    key = LoopKey(WORKFLOW, loop_plan.loop)
    tenure = host.open(TenureSpec(key, 1, loop_plan.reads, dict.fromkeys(loop_plan.writes, UNBOUNDED)))
    manager = LoopManager(loop_plan, nodes, tenure)
    gc.collect()
    gc.freeze()  # as a pool host does once it has loaded its modules
    collector.relax()  # the same
    pipe.send("ready")
    pipe.recv()
    before = time.process_time()
    outcome = manager.run()
    node = nodes["node"]
    pipe.send(
        {
            "outcome": outcome.kind,
            "error": outcome.error,
            "cpu_s": time.process_time() - before,
            "done": time.monotonic(),
            "committed": tenure.committed,
            "delays": getattr(node, "delays", []),
            "noted": getattr(node, "noted", []),
        }
    )
    host.stop()
