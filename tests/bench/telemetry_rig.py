"""One agent of the telemetry benchmark, without its session, in a process of its own that is told what to run.

No two agents share a process: what the exporter of one takes must not be counted as another's work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
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
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_Answer = tuple[float, str]  # iterations, or messages, per CPU second; and what went wrong
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


class Remote:
    """A rig in its own process, as seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def work(self, namespace: str, kind: str, count: int) -> float:
        """Run one kind of work, "loop" or "queue"; return iterations, or messages, per CPU second."""
        self._pipe.send_bytes(msgspec.json.encode((namespace, kind, count)))
        if not self._pipe.poll(PATIENCE_S * 2):
            raise TimeoutError(f"{namespace} is not done with {count} of the {kind}")
        answer: _Answer = msgspec.json.decode(self._pipe.recv_bytes(), type=_Answer)
        rate, wrong = answer
        if wrong:
            raise RuntimeError(wrong)
        return rate


@contextmanager
def remote(name: str, url: str, settings: dict[str, Any]) -> Iterator[Remote]:
    """Run a rig in a process of its own for the length of a block."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_run, args=(theirs, name, url, settings))
    process.start()
    theirs.close()
    try:
        yield Remote(ours)
    finally:
        ours.close()  # there is nothing more
        process.join(30)
        process.kill()


def _run(pipe: Connection, name: str, url: str, settings: dict[str, Any]) -> None:
    rig = Rig(name, url, settings)
    rig.launch()  # before there are threads
    asyncio.run(_obey(rig, pipe))


async def _obey(rig: Rig, pipe: Connection) -> None:
    """Do what is asked for until there is nothing more."""
    await rig.start()
    try:
        while (order := await asyncio.to_thread(_heard, pipe)) is not None:
            namespace, kind, count = order
            plans = [line(namespace, count)] if kind == "loop" else chain(namespace, count)
            try:
                answer: _Answer = (await rig.work(namespace, plans, count), "")
            except (RuntimeError, TimeoutError) as error:
                answer = 0.0, f"{type(error).__name__}: {error}"
            pipe.send_bytes(msgspec.json.encode(answer))
    finally:
        await rig.stop()


def _heard(pipe: Connection) -> tuple[str, str, int] | None:
    """Return the next order; None when whoever gives them has gone."""
    try:
        return msgspec.json.decode(pipe.recv_bytes(), type=tuple[str, str, int])
    except EOFError:
        return None
