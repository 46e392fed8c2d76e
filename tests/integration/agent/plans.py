"""Plans as the compiler makes them, for agents under test."""

from __future__ import annotations

from typing import Any

from treadle.workflow.plan import Input, Plan, Pool, Step


def counting(loop: str, pool: Pool, queue: str, *, uses: str = "generate", **params: Any) -> Plan:
    """A loop that counts and pushes each number to a queue."""
    steps = (
        Step("source", "producer", uses=uses, params=params),
        Step("out", "queue", queue=queue, inputs=(Input(0, None, "source"),)),
    )
    return Plan("w", loop, steps, digest=f"{loop}-1", pool=pool, interval_s=0.001)


def moving(loop: str, pool: Pool, source: str, target: str) -> Plan:
    """A loop that moves messages from one queue to another."""
    steps = (
        Step("in", "queue-reader", queues=(source,)),
        Step("out", "queue", queue=target, inputs=(Input(0, None, "in"),)),
    )
    return Plan("w", loop, steps, digest=f"{loop}-1", pool=pool)
