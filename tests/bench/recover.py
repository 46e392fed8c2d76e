"""How soon loops are back: after a start of many, after a kill, and after a change while they run.

process_loops_100_s        from the Apply call for 100 loops of the process pool to the first commit of the last of them
process_pss_mib            memory of each of these, pages that they share divided by those who share them, on average
restart_after_kill_max_ms  from kill -9 of a loop process to the next commit of its loop, as Redis shows it
hot_change_ms              longest time without a commit of a loop that moves 10,000 messages a second, while a
                           parameter of its node is changed; the worst pool
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis

from tests.servers import redis_server
from tests.steady_flow import PER_S, Feeder, Gaps
from treadle.queues.keys import Keys
from treadle.queues.tenure import LoopKey
from treadle.v1 import agent_pb2, agent_service_pb2, loop_pb2, workflow_pb2, workflow_service_pb2
from wfctl.client import Client
from wfctl.dev.cluster import Cluster, ClusterConfig
from wfctl.settings import Settings

LOOPS: Final = 100
KILLS: Final = 20
_POOLS: Final = ("thread", "asyncio", "process")
_PATIENCE_S: Final = 60.0
_KEYS: Final = Keys("default")
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_RUNNING: Final = loop_pb2.LOOP_STATE_RUNNING


def main(*, quick: bool) -> dict[str, Any]:
    """Measure all four, one after the other, on one agent."""
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder,
        redis_server() as server,
        stand(Path(folder), server.url) as world,
    ):
        ready = [start_many(world, name) for name in ("warm", "many")][-1]
        kills = [kill_s(world) * 1000 for _ in range(KILLS if quick else 5 * KILLS)]
        gaps = {pool: change_s(world, pool, 3 if quick else 10) * 1000 for pool in _POOLS}
    figures = {
        "process_loops_100_s": round(ready[0], 2),
        "process_pss_mib": round(ready[1], 1),
        "restart_after_kill_max_ms": round(max(kills), 1),
        "restart_after_kill_p50_ms": round(statistics.median(kills), 1),
        "restart_after_kill_n": len(kills),
        "hot_change_ms": round(max(gaps.values()), 1),
        **{f"hot_change_{pool}_ms": round(gap, 1) for pool, gap in gaps.items()},
    }
    return {"bench": "recover", "ratios": {}, "figures": figures}


class World:
    """A cluster of one agent, and its Redis."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self.url = url
        self.redis = redis.Redis.from_url(url, decode_responses=True)

    def apply(self, document: dict[str, Any]) -> int:
        """Apply a document; return the number of its revision."""
        data = json.dumps(document).encode()
        request = workflow_service_pb2.ApplyWorkflowRequest(namespace="default", document=data)
        return int(self.client.call(self.client.workflows.ApplyWorkflow, request).workflow.revision)

    def workflow(self, name: str) -> workflow_pb2.Workflow:
        request = workflow_service_pb2.GetWorkflowRequest(namespace="default", name=name)
        found: workflow_pb2.Workflow = self.client.call(self.client.workflows.GetWorkflow, request).workflow
        return found

    def delete(self, name: str) -> None:
        request = workflow_service_pb2.DeleteWorkflowRequest(namespace="default", name=name, with_queues=True)
        self.client.call(self.client.workflows.DeleteWorkflow, request)

    def life(self, loop: LoopKey) -> tuple[int, int, int]:
        """Return a loop's epoch, incarnation and iteration, from Redis."""
        found: Any = self.redis.hmget(_KEYS.loop(loop), "epoch", "inc", "iteration")
        epoch, incarnation, iteration = (int(one or 0) for one in found)
        return epoch, incarnation, iteration

    def committed(self, loops: list[LoopKey]) -> bool:
        """Whether each of them has."""
        asked = self.redis.pipeline(transaction=False)
        for loop in loops:
            asked.hget(_KEYS.loop(loop), "iteration")
        return all(int(one or 0) > 0 for one in asked.execute())

    def pids(self, name: str) -> list[int]:
        return [loop.instances[0].status.process_id for loop in self.workflow(name).loops]


@contextmanager
def stand(folder: Path, url: str) -> Iterator[World]:
    """Run a cluster that has room for the loops."""
    os.environ["TREADLE_AGENT_SLOTS__PROCESS"] = str(4 * LOOPS)
    running = Cluster(ClusterConfig(state_dir=folder, redis=url, port=0, http_port=0))
    running.start()
    try:
        running.wait_listening(time.sleep)
        with Client(Settings(address=running.address)) as client:
            until(lambda: _is_ready(client), "the agent is ready")
            yield World(client, url)
    finally:
        running.stop()


def _is_ready(client: Client) -> bool:
    found = client.call(client.agents.ListAgents, agent_service_pb2.ListAgentsRequest()).agents
    return any(agent.state == agent_pb2.AGENT_STATE_READY for agent in found)


def start_many(world: World, name: str) -> tuple[float, float]:
    """Start 100 loop processes; return the seconds, and the MiB of each."""
    nodes = [
        node
        for n in range(LOOPS)
        for node in (
            _node(f"make{n}", "producer", uses="generate", pool="process", interval="1h"),
            _node(f"note{n}", "blocking", uses="transform", **{"with": {"set": {"twice": "data.n * 2"}}}),
            _node(f"out{n}", "queue", queue=f"{name}-{n}"),
        )
    ]
    edges = [edge for n in range(LOOPS) for edge in (_edge(f"make{n}", f"note{n}"), _edge(f"note{n}", f"out{n}"))]
    begun = time.monotonic()
    world.apply({"name": name, "nodes": nodes, "edges": edges})
    until(lambda: world.committed([LoopKey(name, f"make{n}") for n in range(LOOPS)]), "each has committed", 0.01)
    took = time.monotonic() - begun
    until(lambda: world.workflow(name).state == _RUNNING, "all are reported as running", 0.02)
    pids = world.pids(name)
    if len(set(pids)) != LOOPS:
        raise AssertionError(f"{len(set(pids))} processes run {LOOPS} loops")
    mib = statistics.mean(pss_mib(pid) for pid in pids)
    world.delete(name)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they are gone")
    return took, mib


def pss_mib(pid: int) -> float:
    """Return the memory of a process."""
    found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))
    return 0.0 if found is None else int(found[1]) / 1024


def kill_s(world: World) -> float:
    """Kill the process of a loop; return how long it takes to its next commit, in another life."""
    loop = LoopKey("killed", "make")
    if not world.life(loop)[0]:
        nodes = [_node("make", "producer", uses="generate", pool="process", interval="1ms"), _node("out", "queue")]
        nodes[1]["data"] = {"queue": "killed", "limits": {"messages": 1000, "when_full": "drop-oldest"}}
        world.apply({"name": "killed", "nodes": nodes, "edges": [_edge("make", "out")]})
        until(lambda: world.life(loop)[2] > 0, "it commits")
    before = world.life(loop)

    def process() -> int:
        status = world.workflow("killed").loops[0].instances[0].status
        return status.process_id if (status.epoch, status.incarnation) == before[:2] else 0

    pid = until(process, "its process is known")
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    first: list[int] = []

    def has_committed() -> bool:
        now = world.life(loop)
        if now[:2] == before[:2]:
            return False
        first.append(now[2])
        return now[2] > first[0]

    until(has_committed, "it commits again")
    return time.monotonic() - begun


def change_s(world: World, pool: str, times: int) -> float:
    """Change a parameter again and again under load; return the longest pause."""
    name = f"changed-{pool}"
    world.apply(moving(name, pool, 0))
    until(lambda: world.workflow(name).state == _RUNNING, "it runs")
    feeder, longest = Feeder(world.url, f"{name}-in"), 0.0
    feeder.start()
    with Gaps(world.url, f"{name}-out") as gaps:
        until(lambda: gaps.pushed > PER_S // 2, "it moves")
        for version in range(1, times + 1):
            gaps.reset()
            revision = world.apply(moving(name, pool, version))
            until(lambda: _is_at(world, name, revision), "the change has arrived", every_s=0.02)  # noqa: B023
            until(gaps.is_calm, "it moves on")
            longest = max(longest, gaps.longest_s)
        fed = feeder.stop()
        until(lambda: gaps.pushed >= fed, "everything has arrived")
        if gaps.pushed != fed:
            raise AssertionError(f"{gaps.pushed} of {fed} messages have arrived")
    world.delete(name)
    return longest


def _is_at(world: World, name: str, revision: int) -> bool:
    loop = world.workflow(name).loops[0]
    return (
        loop.state == _RUNNING
        and loop.instances[0].status.epoch == loop.instances[0].epoch
        and (loop.revision == revision)
    )


def moving(name: str, pool: str, version: int) -> dict[str, Any]:
    """Return a loop that moves messages, and one parameter of it."""
    nodes = [
        _node("in", "queue-reader", queue=f"{name}-in", external=True, pool=pool),
        _node("mark", "blocking", uses="transform", **{"with": {"set": {"version": str(version)}}}),
        _node("out", "queue", queue=f"{name}-out", external=True),
    ]
    return {"name": name, "nodes": nodes, "edges": [_edge("in", "mark"), _edge("mark", "out")]}


def _node(name: str, kind: str, **data: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "data": data}


def _edge(source: str, target: str) -> dict[str, str]:
    return {"id": f"{source}-{target}", "source": source, "target": target}


def until(condition: Callable[[], Any], what: str, every_s: float = 0.001) -> Any:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {_PATIENCE_S:g} s: {what}")
        time.sleep(every_s)
    return found
