"""What telemetry costs: work per CPU second of all processes of an agent, with telemetry over without it.

Agents without a session, each with its own supervisor, hosts and exporter, one for each way of telemetry, take turns at
the same work: a loop of three nodes that pushes nothing, and messages from loop to loop through a real server. CPU is
that of supervisor, forkserver, hosts and loop processes; the collector and the server are processes that do not count.

export_on_vs_off        a collector, metrics every second, no iteration sampled
sampled_default_vs_off  the same, and the default: 1 %, at most 50 new traces a second and host
collector_dead_vs_off   the default, and nobody listens
sampled_all_vs_off      every iteration is a trace
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.bench.queue import prepare
from tests.bench.queue_loops import plan as queue_plan
from tests.otlp import receiver
from tests.servers import binary_of, redis_server
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import loop_pb2
from treadle.workflow.plan import Input, Plan, Resources, Step
from treadle_agent.config import AgentConfig
from treadle_agent.setup import Traces
from treadle_agent.supervisor.hosts import Template
from treadle_agent.supervisor.loops import Reporter
from treadle_agent.supervisor.spawner import Spawner
from treadle_agent.supervisor.supervisor import Supervisor
from treadle_agent.telemetry.telemetry import Telemetry

NODES: Final = ("tests.bench.telemetry_nodes", "tests.bench.queue_loops")
PATIENCE_S: Final = 120.0
_ROOT: Final = Path(__file__).resolve().parents[2]
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_spawn = multiprocessing.get_context("spawn")


def line(name: str, iterations: int) -> Plan:
    """Return a producer and three nodes in a line, that push nothing."""
    first = Step("number", "producer", uses="bench.number", params={"limit": iterations})
    nodes = [Step(f"add{at}", "blocking", uses="bench.add", inputs=(Input(at - 1, None, "in"),)) for at in (1, 2, 3)]
    return Plan("bench", name, (first, *nodes), digest="", pool="process")


def chain(name: str, messages: int) -> list[Plan]:
    """Return two loops that a queue joins."""
    queue = f"{name}-q"
    source = queue_plan(f"{name}-source", read=None, uses="bench.source", write=queue, params={"count": messages})
    sink = queue_plan(f"{name}-sink", read=queue, uses="bench.count", write=None)
    return [Plan(each.workflow, each.loop, each.steps, digest="", pool="process") for each in (source, sink)]


@dataclass
class Rig:
    """An agent without its session: its supervisor, hosts and telemetry."""

    name: str
    url: str
    settings: dict[str, Any]
    ended: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def launch(self) -> None:
        """Start its forkserver."""
        self.config = AgentConfig(name=self.name, otlp_interval_s=1.0, **self.settings)
        endpoint = self.config.otlp_endpoint
        self.spawner = Spawner(*(["treadle_agent.pools.spans"] if endpoint else []))
        self.spawner.launch()
        traces = Traces(self.config.traces.ratio, self.config.traces.per_second) if endpoint else None
        self.template = Template(self.name, self.url, "warning", NODES, limits=Resources(), traces=traces)

    async def start(self) -> None:
        """Start the rest."""
        self.supervisor = Supervisor(self.template, self.spawner, Reporter(self._say, lambda *_: None))
        self.telemetry = Telemetry(self.config, self.supervisor, lambda: True)
        await self.supervisor.start()
        await self.telemetry.start()
        self.sending = asyncio.create_task(self.telemetry.run())

    async def stop(self) -> None:
        """Stop all of it."""
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)
        await self.supervisor.stop()
        await self.telemetry.stop()

    def _say(self, status: loop_pb2.LoopStatus, urgent: bool, last: bool) -> None:
        if status.state == loop_pb2.LOOP_STATE_COMPLETED:
            self.ended.add(status.loop.loop)
        elif status.state in (loop_pb2.LOOP_STATE_ERROR, loop_pb2.LOOP_STATE_LOST, loop_pb2.LOOP_STATE_BACKOFF):
            self.wrong.append(str(status))
        self.news.set()

    async def work(self, namespace: str, plans: list[Plan], count: int) -> float:
        """Run loops to their end; return iterations, or messages, per CPU second."""
        await asyncio.to_thread(prepare, self.url, namespace, plans)
        before = self._cpu_s()
        self.supervisor.take(wire.Assignments(set=[_assignment(namespace, each) for each in plans]))
        names = {each.loop for each in plans}
        async with asyncio.timeout(PATIENCE_S):
            while not names <= self.ended or len(self.supervisor.hosts.living()) > 2:
                self.news.clear()
                if self.wrong:
                    raise RuntimeError(self.wrong[0])
                await asyncio.wait([asyncio.create_task(self.news.wait())], timeout=0.02)
        return count / (self._cpu_s() - before)

    def _cpu_s(self) -> float:
        """Return the CPU seconds of the supervisor, the forkserver and its children, those that ended included."""
        pids = [child.pid for child in self.supervisor.hosts.living()]
        return time.process_time() + _stat(self.spawner.pid, 4) + sum(_stat(pid, 2) for pid in pids)


def _stat(pid: int, fields: int) -> float:
    """Return user and system time of a process; with four fields, also that of children that were waited for."""
    values = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return sum(map(int, values[11 : 11 + fields])) / _TICKS


def _assignment(namespace: str, plan: Plan) -> wire.Assignment:
    return wire.Assignment(
        loop=loop_pb2.LoopRef(namespace=namespace, workflow=plan.workflow, loop=plan.loop),
        epoch=1,
        sequence=1,
        revision=1,
        desired_state=loop_pb2.DESIRED_STATE_RUNNING,
        plan_json=msgspec.json.encode(plan),
        queues=[wire.AssignedQueue(name=name) for name in (*plan.reads, *plan.writes)],
    )


def _collect(pipe: Connection) -> None:
    """Be a collector that keeps nothing, until told to stop."""
    with receiver(keep=False) as running:
        pipe.send(running.endpoint)
        pipe.recv()


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector in a process of its own."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_collect, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join(5)
        process.kill()


def nobody() -> str:
    """Return an endpoint where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def compare(url: str, endpoint: str, rounds: int, loops: int, messages: int) -> dict[str, list[list[float]]]:
    """Return the rates of each way, by round: of the loop, and of the queue."""
    ways: dict[str, dict[str, Any]] = {
        "off": {},
        "export_on": {"otlp_endpoint": endpoint, "traces": {"ratio": 0.0}},
        "sampled_default": {"otlp_endpoint": endpoint},
        "collector_dead": {"otlp_endpoint": nobody()},
        "sampled_all": {"otlp_endpoint": endpoint, "traces": {"ratio": 1.0, "per_second": 0}},
    }
    rigs = {way: Rig(way.replace("_", "-"), url, settings) for way, settings in ways.items()}
    for rig in rigs.values():
        rig.launch()
    for rig in rigs.values():
        await rig.start()
    rates: dict[str, list[list[float]]] = {way: [] for way in ways}
    try:
        for number in range(rounds):
            # Each begins a round in its turn, so that nobody is always the one who comes after whom.
            order = list(rigs.items())[number % len(rigs) :] + list(rigs.items())[: number % len(rigs)]
            for way, rig in order:
                less = 30 if way == "sampled_all" else 1
                name = f"{rig.name}-{number}"
                of_loop = await rig.work(name, [line(f"{name}-line", loops // less)], loops // less)
                of_queue = await rig.work(f"{name}-queue", chain(name, messages // less), messages // less)
                rates[way].append([of_loop, of_queue])
    finally:
        for rig in rigs.values():
            await rig.stop()
    return rates


def main(*, quick: bool) -> dict[str, Any]:
    """Measure."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    rounds, loops, messages = (5, 700_000, 300_000) if quick else (9, 2_000_000, 1_000_000)
    with collector() as endpoint, redis_server("redis" if binary_of("redis") else "valkey") as server:
        rates = asyncio.run(compare(server.url, endpoint, rounds, loops, messages))
    off = rates.pop("off")
    ratios, figures = {}, {}
    for way, found in rates.items():
        of = [
            statistics.median(on[kind] / plain[kind] for on, plain in zip(found, off, strict=True)) for kind in (0, 1)
        ]
        ratios[f"{way}_vs_off"] = round(min(of), 3)
        figures[f"{way}_loop"], figures[f"{way}_queue"] = round(of[0], 3), round(of[1], 3)
    for kind, name in enumerate(("loop_iterations", "queue_messages")):
        figures[f"off_{name}_per_cpu_s"] = round(statistics.median(each[kind] for each in off))
    return {"bench": "telemetry", "ratios": ratios, "figures": figures}
