"""Where the suite's loops run: in a thread, as a task, in a process. All of them run the same LoopManager.

The pools of the agent can stand in for these: a pool has `start(plan, spec, style) -> Running`.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec
import uvloop

from tests.conformance.loops.backends import Backend, spec_of
from tests.conformance.loops.nodes import CATALOGS
from treadle.loop import LoopManager, LoopSnapshot, Outcome, build_nodes
from treadle.queues.redis_host import RedisHost
from treadle.queues.tenure import Tenure, TenureSpec
from treadle.workflow.plan import Plan

LIMIT_S = 30.0
VERBS = ("drain", "stop", "pause", "resume")


class Running(Protocol):
    """A loop that was started."""

    def tell(self, verb: str) -> None:
        """Drain, stop, pause or resume it."""

    def stats(self) -> LoopSnapshot:
        """Return its figures."""
        ...

    def outcome(self) -> Outcome:
        """Wait until it ends; its tenure is closed then."""
        ...


class Pool(Protocol):
    """Starts loops."""

    def start(self, plan: Plan, spec: TenureSpec, style: str) -> Running:
        """Start a loop with the suite's nodes, written in a style."""
        ...

    def stop(self) -> None:
        """End it; its loops have ended."""


def manager_of(plan: Plan, tenure: Tenure, style: str) -> LoopManager:
    """Return a LoopManager for a plan."""
    return LoopManager(plan, build_nodes(plan, CATALOGS[style]), tenure, revision="7")


class Here:
    """A loop in this process."""

    def __init__(self, manager: LoopManager) -> None:
        self.manager = manager
        self.ended: Future[Outcome] = Future()

    def tell(self, verb: str) -> None:
        getattr(self.manager, verb)()

    def stats(self) -> LoopSnapshot:
        return self.manager.stats()

    def outcome(self) -> Outcome:
        return self.ended.result(LIMIT_S)


class ThreadPool:
    """A thread per loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def start(self, plan: Plan, spec: TenureSpec, style: str) -> Running:
        tenure = self._backend.open(spec)
        here = Here(manager_of(plan, tenure, style))
        threading.Thread(target=self._run, args=(here, tenure), name=str(spec.key), daemon=True).start()
        return here

    def _run(self, here: Here, tenure: Tenure) -> None:
        try:
            outcome = here.manager.run()
            self._backend.close(tenure)
            here.ended.set_result(outcome)
        except BaseException as exc:  # noqa: BLE001 - the test is to see it
            here.ended.set_exception(exc)

    def stop(self) -> None:
        pass


class TaskPool:
    """A task per loop on one event loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="suite tasks", daemon=True)
        self._thread.start()

    def start(self, plan: Plan, spec: TenureSpec, style: str) -> Running:
        tenure: Tenure = self._call(self._backend.open_async(spec))
        here = Here(manager_of(plan, tenure, style))
        asyncio.run_coroutine_threadsafe(self._run(here, tenure), self._loop)
        return here

    async def _run(self, here: Here, tenure: Tenure) -> None:
        try:
            outcome = await here.manager.run_async()
            await self._backend.close_async(tenure)
            here.ended.set_result(outcome)
        except BaseException as exc:  # noqa: BLE001 - the test is to see it
            here.ended.set_exception(exc)

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LIMIT_S)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class ProcessPool:
    """A process per loop, from a forkserver that has everything imported."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.conformance.loops.pools"])

    def start(self, plan: Plan, spec: TenureSpec, style: str) -> Running:
        ours, theirs = self._context.Pipe()
        what = (msgspec.json.encode(plan), spec.epoch, spec.stateful, spec.never_ends, style)
        where = (self._backend.url, self._backend.namespace)
        process = self._context.Process(
            target=run_process, args=(theirs, *where, *what), name=str(spec.key), daemon=True
        )
        process.start()
        theirs.close()
        return InProcess(process, ours)

    def stop(self) -> None:
        pass


class InProcess:
    """A loop in a process: requests go down the pipe, answers come up."""

    def __init__(self, process: Any, pipe: Any) -> None:
        self._process = process
        self._pipe = pipe
        self._outcome: Outcome | None = None
        self._last: LoopSnapshot | None = None

    def tell(self, verb: str) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(verb.encode())

    def stats(self) -> LoopSnapshot:
        if self._outcome is None:
            self.tell("stats")
            self._hear(LoopSnapshot)
        assert self._last is not None
        return self._last

    def outcome(self) -> Outcome:
        if self._outcome is None:
            self._hear(Outcome)
            self._process.join(LIMIT_S)
        assert self._outcome is not None
        return self._outcome

    def _hear(self, kind: type) -> None:
        """Take what comes up until it is of a kind."""
        heard: Any = None
        while type(heard) is not kind:
            assert self._pipe.poll(LIMIT_S), f"no {kind.__name__} in time"
            name, raw = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=tuple[str, bytes])
            if name == "Outcome":
                self._outcome = heard = msgspec.msgpack.decode(raw, type=Outcome)
            else:
                self._last = heard = msgspec.msgpack.decode(raw, type=LoopSnapshot)


def run_process(
    pipe: Any,
    url: str,
    namespace: str,
    plan_json: bytes,
    epoch: int,
    stateful: tuple[str, ...],
    never_ends: tuple[str, ...],
    style: str,
) -> None:
    """Be a loop process."""
    plan = msgspec.json.decode(plan_json, type=Plan)
    spec = spec_of(plan, epoch, stateful, never_ends)
    host = RedisHost.in_thread(url, namespace, f"suite-{plan.loop}")
    tenure = host.open(spec)
    manager = manager_of(plan, tenure, style)
    threading.Thread(target=_obey, args=(manager, pipe), name="suite control", daemon=True).start()
    outcome = manager.run()
    host.close(tenure)
    host.stop()
    pipe.send_bytes(_framed(manager.stats()))
    pipe.send_bytes(_framed(outcome))


def _obey(manager: LoopManager, pipe: Any) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            verb = pipe.recv_bytes().decode()
            if verb == "stats":
                pipe.send_bytes(_framed(manager.stats()))
            else:
                getattr(manager, verb)()


def _framed(value: Any) -> bytes:
    return msgspec.msgpack.encode((type(value).__name__, msgspec.msgpack.encode(value)))
