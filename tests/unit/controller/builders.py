"""Plans, loops and agents for tests, with as little said as possible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from treadle.workflow.plan import Compiled, Plan, Pool, Step
from treadle_controller.cluster.fleet import Agent, Fleet
from treadle_controller.cluster.model import LoopRecord

USES = "x.work"


def plan(
    loop: str, *, digest: str = "d1", workflow: str = "w", uses: str = USES, pushes: tuple[str, ...] = (), **fields: Any
) -> Plan:
    tail_of = loop.rpartition("~")[0] or None
    queue = f"{workflow}~{loop}"
    first = Step("in", "queue-reader", queues=(queue,)) if tail_of else Step("in", "producer", uses=uses)
    first = replace(first, push_queues=pushes)
    return Plan(workflow, loop, (first,), digest=digest, tail_of=tail_of, **fields)


def loop(name: str, **fields: Any) -> LoopRecord:
    record = {key: fields.pop(key) for key in ("desired", "restarts", "fresh", "removed", "revision") if key in fields}
    made = plan(name, **fields)
    return LoopRecord(made.workflow, record.pop("revision", 1), made, **record)


def agent(name: str, *, slots: int = 10, uses: tuple[str, ...] = (USES,), **fields: Any) -> Agent:
    pools: tuple[Pool, ...] = ("thread", "process", "asyncio")
    return Agent(name, slots=dict.fromkeys(pools, slots), uses=frozenset(uses), **fields)


def fleet(*agents: Agent) -> Fleet:
    made = Fleet()
    for one in agents:
        made.put(one)
    return made


def compiled(*plans: Plan, max_parallel: int = 1) -> Compiled:
    return Compiled("w", "d", plans, (), max_parallel=max_parallel)
