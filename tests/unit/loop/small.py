"""A short way to run a few nodes over queues in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from treadle import BlockingNode, LoopComplete, Params, ProducerNode
from treadle.clock import Clock
from treadle.loop import LoopManager, Outcome
from treadle.loop.tracing import Tracing
from treadle.queues.codec import decode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.memory_tenure import MemoryTenure
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.workflow.plan import Input, Plan, QueueLimits, RetryPolicy, Step

LIMIT_S = 20.0
QUICKLY = RetryPolicy(initial_backoff_s=0.001)
NO_PARAMS = Params()
KEY = LoopKey("w", "l")


class From(ProducerNode[Params]):
    """A producer from a function; the end of an iterator completes the loop."""

    inline = True

    def __init__(self, work: Callable[[From], Any] | Any) -> None:
        super().__init__(NO_PARAMS)
        self.work = work

    def execute(self) -> Any:
        return self.work(self) if callable(self.work) else next(self.work, LoopComplete())


class By(BlockingNode[Params]):
    """A node from a function."""

    inline = True

    def __init__(self, work: Callable[[By, Any], Any]) -> None:
        super().__init__(NO_PARAMS)
        self.work = work

    def execute(self, data: Any) -> Any:
        return self.work(self, data)


class StatefulBy(By):
    """The same, with state."""

    stateful = True


@dataclass
class Small:
    """One loop: a producer or a queue, a line of nodes, and a queue `out` at the end."""

    producer: Any = None  # None: the queue `in`
    nodes: tuple[Any, ...] = ()
    host: MemoryHost = field(default_factory=lambda: MemoryHost("ns"))
    clock: Clock | None = None
    limits: QueueLimits = field(default_factory=lambda: QueueLimits(None, None))
    settings: dict[str, Any] = field(default_factory=dict)
    push_queues: tuple[str, ...] = ()
    pop_queues: tuple[str, ...] = ()
    epoch: int = 1
    retry: RetryPolicy = QUICKLY
    node_settings: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> Plan:
        retry: dict[str, Any] = {"retry": self.retry}
        first = Step("p", "queue-reader", queues=("in",), **retry)
        if self.producer is not None:
            first = Step("p", "producer", uses="p", **retry)
        queues = {"push_queues": self.push_queues, "pop_queues": self.pop_queues, **retry, **self.node_settings}
        line = [
            Step(f"n{at}", "blocking", uses="n", inputs=(Input(at - 1, None, "in"),), **queues)
            for at in range(1, len(self.nodes) + 1)
        ]
        out = Step("out", "queue", queue="out", inputs=(Input(len(self.nodes), None, "in"),))
        return Plan("w", "l", (first, *line, out), digest="", **self.settings)

    def open(self, *, tracing: Tracing | None = None) -> tuple[LoopManager, MemoryTenure]:
        plan = self.plan()
        named: dict[str, Any] = {} if self.producer is None else {"p": self.producer}
        named |= {f"n{at}": node for at, node in enumerate(self.nodes, 1)}
        spec = TenureSpec(
            KEY,
            self.epoch,
            reads=plan.reads,
            writes=dict.fromkeys(plan.writes, self.limits),
            stateful=tuple(name for name, node in named.items() if node.stateful),
            max_in_flight=plan.max_in_flight,
            max_in_flight_bytes=plan.max_in_flight_bytes,
        )
        tenure = self.host.incarnate(spec)
        return LoopManager(plan, named, tenure, clock=self.clock, tracing=tracing), tenure

    def run(self) -> Outcome:
        return self.open()[0].run()

    def out(self) -> list[Any]:
        return [decode_item(item)[0] for item in self.host.peek("out")]


class Started:
    """A LoopManager in a thread."""

    def __init__(self, manager: LoopManager) -> None:
        self.manager = manager
        self._outcomes: list[Outcome] = []
        self.thread = threading.Thread(target=lambda: self._outcomes.append(manager.run()), daemon=True)
        self.thread.start()

    def outcome(self) -> Outcome:
        self.thread.join(LIMIT_S)
        return self._outcomes[0]
