"""The child processes of this agent: which there are, and what becomes of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from treadle.workflow.plan import Resources
from treadle_agent import linux
from treadle_agent.errors import SpawnFailed
from treadle_agent.frames import Mute, ToChild
from treadle_agent.secrets import SecretsProvider
from treadle_agent.setup import Role, Setup, Traces
from treadle_agent.supervisor import sweeper
from treadle_agent.supervisor.child import Child, Listener
from treadle_agent.supervisor.restart import after_host_death
from treadle_agent.supervisor.spawner import Spawner

_log = logging.getLogger(__name__)

SHARED: Final[tuple[Role, ...]] = ("thread", "asyncio")
OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
SPAWN_PAUSE_S: Final = 1.0
NO_LIMITS: Final = Resources()
NO_SECRETS: Final = SecretsProvider(prefix="")


def from_outside(code: int) -> bool:
    """Whether somebody else ended the process, as far as its exit code shows."""
    return code < 0 and -code in OUTSIDE


@dataclass(frozen=True, slots=True)
class Template:
    """What all children of this agent are told."""

    agent: str
    redis: str
    log_level: str
    nodes: tuple[str, ...] = ()
    entry_points: bool = True
    limits: Resources = NO_LIMITS  # of each shared host
    traces: Traces | None = None
    secrets: SecretsProvider = NO_SECRETS


class Hosts:
    """Starts, replaces, sweeps and stops children. The shared hosts are always there, or about to be."""

    def __init__(
        self, template: Template, spawner: Spawner, listener: Listener, on_host: Callable[[Child], None]
    ) -> None:
        self._template = template
        self._listener = listener
        self._on_host = on_host  # a shared host is there again: give it its loops
        self._spawner = spawner
        spawner.on_exit, spawner.on_lost = self._exited, self._lost_forkserver
        self._children: dict[int, Child] = {}
        self._shared: dict[Role, Child] = {}
        self._deaths: dict[Role, tuple[float, ...]] = {}
        self._greeting: list[ToChild] = []
        self._pending = 0  # children that are being started
        self._early: dict[int, int] = {}  # ends of such, told before their beginning
        self._spare: frozenset[int] = frozenset()
        self._to_sweep: set[str] = set()
        self._sweeping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._stopping = False
        self._muted = False

    async def start(self) -> None:
        """Wait until children can be started. Raises SpawnFailed."""
        linux.become_subreaper()
        # Whoever became this program by exec may have left children of its own; they are none of our business.
        self._spare = frozenset(sweeper.children(os.getpid())) - {self._spawner.pid}
        await self._spawner.ready()

    def start_shared(self) -> None:
        """Start the thread host and the asyncio host, so that a loop finds them warm."""
        for role in SHARED:
            self._launch_shared(role)

    def greet(self, frame: ToChild) -> None:
        """Say this to the shared hosts now, and to each of their successors first."""
        if frame not in self._greeting:
            self._greeting.append(frame)
            for child in self._shared.values():
                child.send(frame)

    def mute(self, *, on: bool) -> None:
        """Have all children record no traces, or again; those to come too."""
        self._muted = on
        for child in self._children.values():
            child.send(Mute(on))

    def shared(self, role: Role) -> Child | None:
        """Return the host of a shared pool; None while its successor waits."""
        return self._shared.get(role)

    def launch(self, role: Role, *, nodes: tuple[str, ...] | None = None, entry_points: bool | None = None) -> Child:
        """Return a new child that is being started; what is sent to it waits."""
        self._template.secrets.hide_all()  # we hand on what the child prints
        folder = self._template.secrets.folder
        setup = Setup(
            request=0,
            role=role,
            marker=f"{role}-{next(self._numbers)}-{secrets.token_hex(6)}",
            agent=self._template.agent,
            redis=self._template.redis,
            log_level=self._template.log_level,
            open_files=self._template.limits.open_files if role in SHARED else None,
            nodes=list(self._template.nodes if nodes is None else nodes),
            entry_points=self._template.entry_points if entry_points is None else entry_points,
            traces=None if role == "catalog" else self._template.traces,
            secrets_folder="" if folder is None else str(folder),
            secrets_prefix=self._template.secrets.prefix,
        )
        child = Child(setup, self._listener)
        self._spawn(self._bring_up(child), f"start {child.marker}")
        return child

    async def stop(self) -> None:
        """Kill every child, everything that they started, and the forkserver."""
        self._stopping = True
        children = list(self._children.values())
        for child in children:
            child.kill()
        await self._spawner.stop()
        for child in children:
            child.end(-signal.SIGKILL)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._sweep_all)

    def tend(self) -> None:
        """End what detached itself from our children, and collect it; call it now and then."""
        ours = {self._spawner.pid, *self._spare}
        killed = sweeper.kill_orphans(ours)
        if killed:
            _log.warning("killed what nodes had started and detached", extra={"pids": killed})
        sweeper.reap(ours)

    def living(self) -> list[Child]:
        """Return the children that run now."""
        return list(self._children.values())

    def succeed(self, child: Child) -> None:
        """Have a shared host succeeded by a new one, while it still runs."""
        if self._shared.get(child.role) is child:
            del self._shared[child.role]
            self._launch_shared(child.role)

    # Beginnings.

    async def _bring_up(self, child: Child) -> None:
        self._pending += 1
        try:
            await child.start(self._spawner)
        except SpawnFailed as exc:
            _log.error("a child could not be started: %s", exc.message, extra={"child": child.marker})
            await asyncio.sleep(0 if self._stopping else SPAWN_PAUSE_S)
            self._end(child, -signal.SIGKILL)
            return
        finally:
            self._pending -= 1
        self._children[child.pid] = child
        if self._muted:
            child.send(Mute(True))
        if child.pid in self._early:
            self._exited(child.pid, self._early.pop(child.pid))
        if not self._pending:
            self._early.clear()  # of children that nobody waits for any more; their pids come again

    def _launch_shared(self, role: Role) -> None:
        if self._stopping or role in self._shared:
            return
        child = self.launch(role)
        self._shared[role] = child
        for frame in self._greeting:
            child.send(frame)
        self._on_host(child)

    async def _launch_later(self, role: Role, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._launch_shared(role)

    # Ends.

    def _exited(self, pid: int, code: int) -> None:
        child = self._children.pop(pid, None)
        if child is None:
            self._early[pid] = code
            return
        self._end(child, code)

    def _end(self, child: Child, code: int) -> None:
        is_host = self._shared.get(child.role) is child
        if is_host:
            del self._shared[child.role]
        child.end(code)
        if not self._stopping:
            self._sweep_soon(child.marker)
            if is_host:
                self._replace(child, code)

    def _replace(self, child: Child, code: int) -> None:
        _log.warning("the %s host ended with %d", child.role, code, extra={"pid": child.pid, "broken": child.broken})
        outside = from_outside(code) and not child.broken
        deaths = self._deaths.get(child.role, ())
        delay, self._deaths[child.role] = after_host_death(deaths, now=time.monotonic(), outside=outside)
        if delay == 0.0:
            self._launch_shared(child.role)
        else:
            self._spawn(self._launch_later(child.role, delay), f"replace {child.role} host")

    def _lost_forkserver(self) -> None:
        """Take in that the forkserver ended, and the kernel killed all its children with it."""
        _log.error("the forkserver ended; starting another one")
        self._spawn(self._restart_forkserver(), "restart forkserver")

    async def _restart_forkserver(self) -> None:
        if self._stopping:
            return
        try:
            self._spawner.launch()
            await self._spawner.ready()
        except SpawnFailed as exc:
            _log.error("no forkserver: %s", exc.message)
            await asyncio.sleep(SPAWN_PAUSE_S)
            if not self._stopping:
                self._spawn(self._restart_forkserver(), "restart forkserver")
            return
        for pid in list(self._children):
            self._exited(pid, -signal.SIGKILL)

    # Sweeping.

    def _sweep_soon(self, marker: str) -> None:
        self._to_sweep.add(marker)
        if not self._sweeping:
            self._sweeping = True
            self._spawn(self._sweep(), "sweep")

    async def _sweep(self) -> None:
        """Look through all processes, once for all children that ended meanwhile."""
        try:
            while self._to_sweep:
                markers, self._to_sweep = frozenset(self._to_sweep), set()
                ours = {self._spawner.pid, *self._children, *self._spare}
                killed = await asyncio.to_thread(sweeper.kill_descendants, markers, supervisor=os.getpid(), spare=ours)
                if killed:
                    _log.warning("killed what dead children had left behind", extra={"pids": killed})
        finally:
            self._sweeping = False

    def _sweep_all(self) -> None:
        sweeper.kill_descendants((), supervisor=os.getpid(), spare=self._spare)
        sweeper.reap(self._spare)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s failed", task.get_name(), exc_info=task.exception())
