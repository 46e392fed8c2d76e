"""One suite, run in every combination of queues, pool and style of node: the fixture `rig`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.loops.backends import Backend, MemoryBackend, RedisBackend, spec_of
from tests.conformance.loops.nodes import CATALOGS
from tests.conformance.loops.pools import Pool, ProcessPool, Running, TaskPool, ThreadPool
from tests.servers import redis_server
from treadle.loop import Outcome
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import Plan

POOLS: dict[str, Callable[[Backend], Pool]] = {"thread": ThreadPool, "asyncio": TaskPool, "process": ProcessPool}

# Queues in memory can't be shared with a process. The agent's own pool hosts run the suite in test_hosted.py.
COMBINATIONS = [
    "memory-thread-sync",
    "memory-thread-async",
    "memory-asyncio-sync",
    "memory-asyncio-async",
    "redis-thread-sync",
    "redis-asyncio-async",
    "redis-process-sync",
]

LIMIT_S = 20.0
_namespaces = itertools.count()


@dataclass
class Rig:
    """Queues and pools for one test; `pool` and `style` are where and how its loops run unless it says otherwise."""

    backend: Backend
    pool: str
    style: str
    folder: Path
    pools: dict[str, Pool] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    epochs: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def start(self, plan: Plan, *, pool: str | None = None, never_ends: tuple[str, ...] = ()) -> Running:
        """Start a loop under a new epoch."""
        name = pool or self.pool
        if name not in self.pools:
            self.pools[name] = POOLS[name](self.backend)
        spec = spec_of(plan, next(self.epochs), self._stateful(plan), never_ends)
        self.backend.assign(spec)
        running = self.pools[name].start(plan, spec, self.style)
        self.running.append(running)
        return running

    def run(self, plan: Plan) -> Outcome:
        """Run a loop until it ends by itself."""
        return self.start(plan).outcome()

    def enter(self, *plans: Plan) -> None:
        """Enter all writers of a revision before any of its loops starts."""
        writers: dict[str, list[LoopKey]] = {}
        for plan in plans:
            for name in plan.writes:
                writers.setdefault(name, []).append(LoopKey(plan.workflow, plan.loop))
        self.backend.enter(writers)

    def payloads(self, queue: str) -> list[dict[str, Any]]:
        """Return the payloads that wait in a queue."""
        return [payload for payload, _ in self.backend.contents(queue)]

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is true, and return it."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not become true in time"
            time.sleep(0.002)
        return found

    def waits_in(self, journal: Path, line: str = "waiting") -> None:
        """Wait until a node has written something down."""
        self.until(lambda: journal.exists() and line in journal.read_text("utf-8").splitlines())

    def _stateful(self, plan: Plan) -> tuple[str, ...]:
        catalog = CATALOGS[self.style]
        return tuple(step.node for step in plan.steps if step.uses and catalog[step.uses].stateful)

    def stop(self) -> None:
        """Stop what still runs."""
        for running in self.running:
            running.tell("stop")
        for running in self.running:
            running.outcome()
        self.backend.stop()
        for pool in self.pools.values():
            pool.stop()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Run one real server for all tests; each has a namespace of its own."""
    with redis_server() as server:
        yield server.url


def make_rig(request: pytest.FixtureRequest, combination: str, folder: Path) -> Iterator[Rig]:
    """Make the rig of a combination."""
    queues, pool, style = combination.split("-")
    namespace = f"suite{next(_namespaces)}"
    if queues == "memory":
        backend: Backend = MemoryBackend(namespace)
    else:
        backend = RedisBackend(request.getfixturevalue("server_url"), namespace)
    rig = Rig(backend, pool, style, folder)
    yield rig
    rig.stop()


@pytest.fixture(params=COMBINATIONS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return queues and a pool, in every combination."""
    yield from make_rig(request, request.param, tmp_path)


@pytest.fixture
def redis_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return queues on a real server, for tests that choose their pools themselves."""
    yield from make_rig(request, "redis-thread-sync", tmp_path)
