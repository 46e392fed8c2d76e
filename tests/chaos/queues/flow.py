"""source -> `in` -> transform -> `out` -> sink -> `ledger`, as plans of the product."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.workflow.plan import Input, Plan, QueueLimits, Step

WORKFLOW = "chaos"
READS = {"source": None, "transform": "in", "sink": "out"}
WRITES = {"source": "in", "transform": "out", "sink": "ledger"}
ROLES = tuple(READS)


class Order(msgspec.Struct, frozen=True):
    """What a worker process is to run."""

    role: str
    replica: int
    epoch: int
    url: str
    namespace: str
    redis_id: str
    report: str  # where it says how it ended
    total: int
    burst: int
    seed: int
    sums: bool
    ledger: bool
    max_in_flight: int
    limit: int | None
    gate: str

    @property
    def key(self) -> LoopKey:
        """The loop."""
        return LoopKey(WORKFLOW, self.role, self.replica)


class Report(msgspec.Struct, frozen=True):
    """How a worker ended: a kind of Outcome, or "crashed"."""

    outcome: str
    code: str = ""
    detail: str = ""
    committed: int = 0


def writes_of(order: Order) -> str | None:
    """Return the queue that a loop pushes to."""
    return WRITES[order.role] if order.role != "sink" or order.ledger else None


def spec_of(order: Order) -> TenureSpec:
    """Return what the loop needs of the queues. The ledger has no limit."""
    reads, writes = READS[order.role], writes_of(order)
    limits = QueueLimits(None if order.role == "sink" else order.limit, None)
    stateful = {"source": ("work",), "transform": ("work",) if order.sums else ()}.get(order.role, ())
    return TenureSpec(
        order.key,
        order.epoch,
        reads=(reads,) if reads else (),
        writes={writes: limits} if writes else {},
        stateful=stateful,
        max_in_flight=order.max_in_flight,
    )


def plan_of(order: Order, tag: str) -> Plan:
    """Return the plan of a loop; `tag` names this incarnation in what it pushes."""
    reads, writes = READS[order.role], writes_of(order)
    uses, params = _node(order, tag)
    steps = [Step("read", "queue-reader", queues=(reads,))] if reads else []
    inputs = (Input(0, None, "in"),) if reads else ()
    steps.append(Step("work", "blocking" if reads else "producer", uses=uses, params=params, inputs=inputs))
    if writes:
        steps.append(Step("push", "queue", queue=writes, inputs=(Input(len(steps) - 1, None, "in"),)))
    return Plan(WORKFLOW, order.role, tuple(steps), digest="")


def _node(order: Order, tag: str) -> tuple[str, dict[str, Any]]:
    match order.role:
        case "source":
            how = {"total": order.total, "burst": order.burst, "seed": order.seed, "gate": order.gate}
            return "chaos.source", how | {"tag": tag}
        case "transform":
            return ("chaos.summing" if order.sums else "chaos.transform"), {"tag": tag}
        case _:
            return ("chaos.sink" if order.ledger else "chaos.swallow"), {}
