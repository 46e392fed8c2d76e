"""The agent's pool hosts as pools of the suite: real children of a real forkserver, spoken to in frames.

`start(plan, spec, style)` as the other pools have it; a loop's figures arrive once a second and when it ends.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from tests.conformance.loops.backends import Backend, RedisBackend
from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.pools import Pool
from treadle.loop import LoopError, LoopSnapshot, Outcome
from treadle.loop.stats import Health, NodeSnapshot
from treadle.queues.tenure import TenureSpec
from treadle.workflow.plan import Plan
from treadle_agent.frames import (
    Address,
    Assign,
    Drain,
    Ended,
    Figures,
    FromChild,
    NodeFigures,
    Pause,
    QueueUse,
    Resume,
    Stop,
    Why,
)
from treadle_agent.setup import Role
from treadle_agent.supervisor.child import Child, Listener
from treadle_agent.supervisor.hosts import Hosts, Template
from treadle_agent.supervisor.spawner import Spawner

LIMIT_S = 30.0
ROLES: tuple[Role, ...] = ("thread", "process", "asyncio")
MODULES = {"sync": "tests.conformance.loops.hosted_sync", "async": "tests.conformance.loops.hosted_async"}
VERBS: dict[str, type[Drain | Stop | Pause | Resume]] = {
    "drain": Drain,
    "stop": Stop,
    "pause": Pause,
    "resume": Resume,
}


class HostedLoop:
    """A loop in a pool host."""

    def __init__(self, nursery: Nursery, number: int, spec: TenureSpec) -> None:
        self.number = number
        self.epoch = spec.epoch
        self.child: Child
        self._nursery = nursery
        self._news = threading.Condition()
        self._figures: Figures | None = None
        self._seen = 0
        self._ended: Ended | None = None

    def tell(self, verb: str) -> None:
        self._nursery.soon(lambda: self.child.send(VERBS[verb](self.number)))
        if verb in {"pause", "resume"}:
            with self._news:
                self._news.wait_for(lambda: self._ended or self._is_paused() is (verb == "pause"), LIMIT_S)

    def _is_paused(self) -> bool | None:
        return None if self._figures is None else self._figures.paused

    def stats(self) -> LoopSnapshot:
        with self._news:
            seen = self._seen
            self._news.wait_for(lambda: self._seen > seen or self._ended is not None, LIMIT_S)
            assert self._figures is not None
            return _snapshot(self._figures)

    def outcome(self) -> Outcome:
        with self._news:
            self._news.wait_for(lambda: self._ended is not None, LIMIT_S)
            assert self._ended is not None, "it does not end"
            return Outcome(_kind(self._ended.kind), _error(self._ended.why))

    def hear(self, frame: FromChild) -> None:
        with self._news:
            if isinstance(frame, Figures):
                self._figures, self._seen = frame, self._seen + 1
            if isinstance(frame, Ended) and self._ended is None:
                self._ended = frame
            self._news.notify_all()


class Nursery:
    """A forkserver and its children, on an event loop in a thread. Made on the main thread, with which they end."""

    def __init__(self, redis_url: str) -> None:
        self._numbers = itertools.count(1)
        self._loops: dict[int, HostedLoop] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="suite hosts", daemon=True)
        spawner = Spawner()
        spawner.launch()
        self._thread.start()
        listener = Listener(self._hear, lambda *_: None, self._gone)
        self.hosts = Hosts(Template("suite", redis_url, "info"), spawner, listener, lambda _: None)
        self._do(self._start())

    async def _start(self) -> None:
        await self.hosts.start()
        self.hosts.start_shared()

    def start(self, role: Role, assign: Assign, spec: TenureSpec) -> HostedLoop:
        started = HostedLoop(self, next(self._numbers), spec)
        self._loops[started.number] = started
        frame = msgspec.structs.replace(assign, run=started.number, slot=started.number)
        self._do(self._place(role, started, frame))
        return started

    async def _place(self, role: Role, started: HostedLoop, frame: Assign) -> None:
        child = self.hosts.launch("process") if role == "process" else self.hosts.shared(role)
        assert child is not None
        started.child = child
        child.send(msgspec.structs.replace(frame, slot=0) if role == "process" else frame)

    def soon(self, call: Any) -> None:
        self._loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        self._do(self.hosts.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _hear(self, child: Child, frame: FromChild) -> None:
        number = getattr(frame, "run", None)
        if number in self._loops:
            self._loops[number].hear(frame)

    def _gone(self, child: Child, code: int) -> None:
        for started in self._loops.values():
            if started.child is child:
                started.hear(Ended(started.number, "failed", Why("process-died", f"it ended with {code}")))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)


class HostedPool:
    """One pool of an agent."""

    def __init__(self, backend: Backend, nursery: Nursery, role: Role) -> None:
        self._backend = backend
        self._nursery = nursery
        self._role: Role = role

    def start(self, plan: Plan, spec: TenureSpec, style: str) -> HostedLoop:
        never_ends = set(spec.never_ends)
        assign = Assign(
            run=0,
            slot=0,
            address=Address(self._backend.namespace, spec.key),
            redis_id="",
            epoch=spec.epoch,
            revision=7,
            plan=msgspec.json.encode(plan),
            queues=[
                QueueUse(name, never_ends=name in never_ends) for name in dict.fromkeys((*plan.reads, *plan.writes))
            ],
            sources={step.uses: MODULES[style] for step in plan.steps if step.uses is not None},
        )
        return self._nursery.start(self._role, assign, spec)

    def stop(self) -> None:
        pass


def start_nursery(redis_url: str) -> Iterator[Nursery]:
    """Start children that can import the suite's nodes; for a fixture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=":")
        nursery = Nursery(redis_url)
    yield nursery
    nursery.stop()


def make_rig(nursery: Nursery, redis_url: str, role: str, style: str, folder: Path) -> Iterator[Rig]:
    """Make a rig whose pools are all hosted; for a fixture."""
    backend = RedisBackend(redis_url, f"hosted{secrets.token_hex(4)}")
    pools: dict[str, Pool] = {name: HostedPool(backend, nursery, name) for name in ROLES}
    rig = Rig(backend, role, style, folder, pools=pools)
    yield rig
    rig.stop()


def _kind(kind: str) -> Literal["completed", "drained", "stopped", "failed", "lost"]:
    return kind if kind in {"completed", "drained", "stopped", "failed"} else "lost"  # type: ignore[return-value]


def _error(why: Why | None) -> LoopError | None:
    if why is None:
        return None
    message = why.message.removeprefix(f"{why.type}: ")
    return LoopError(why.code, why.type, message, why.node or None, why.traceback)


def _snapshot(figures: Figures) -> LoopSnapshot:
    return LoopSnapshot(
        committed=figures.committed,
        iterations=sum(figures.duration_log2_ns),
        idle_ticks=figures.idle_ticks,
        errors=figures.errors,
        in_flight=figures.in_flight,
        durations=tuple(figures.duration_log2_ns),
        nodes=tuple(_node(node) for node in figures.nodes),
    )


def _node(node: NodeFigures) -> NodeSnapshot:
    return NodeSnapshot(
        node=node.node,
        executions=node.executions,
        failures=node.failures,
        health=Health(node.health),
        durations=tuple(node.duration_log2_ns),
        last_error=_error(node.last_error),
    )
