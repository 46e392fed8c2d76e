"""Looks at the children from outside, as only the supervisor can: whether they run, and what they use."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from treadle.workflow.plan import Resources
from treadle_agent import linux
from treadle_agent.frames import Why
from treadle_agent.setup import SHOW_STACK
from treadle_agent.supervisor import blame, threads

if TYPE_CHECKING:
    from treadle_agent.supervisor.child import Child
    from treadle_agent.supervisor.faults import Stack
    from treadle_agent.supervisor.hosts import Hosts
    from treadle_agent.supervisor.loops import Loops, Placed

LOOK_S: Final = 0.25
MEASURE_S: Final = 1.0
STALL_S: Final = 5.0
ASLEEP_S: Final = 1.0  # a look that comes so late says that it was us who did not run
WRITE_S: Final = 0.2  # for a stack to be written
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses; `memory` is its share of it (PSS), in bytes."""

    memory: int
    threads: int


class Watch:
    """Has hosts that stall, and processes above their limits, replaced. `limits` are those of the shared hosts."""

    def __init__(self, hosts: Hosts, loops: Loops, limits: Resources) -> None:
        self._hosts = hosts
        self._loops = loops
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self._side: dict[str, asyncio.Task[None]] = {}
        self._awake_ns = 0
        self._looked_at = 0.0
        self._measured_at = 0.0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="watch")

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._side.values()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self) -> None:
        while True:
            self._look(time.monotonic())
            await asyncio.sleep(LOOK_S)

    def _look(self, now: float) -> None:
        if now - self._looked_at > ASLEEP_S:
            self._awake_ns = int(now * 1e9)
        self._looked_at = now
        for child in self._hosts.living():
            if child.role in ("thread", "asyncio") and child.doom is None and self._stalls(child, now):
                self._aside(f"stall {child.marker}", self._end_stall(child))
        if now - self._measured_at >= MEASURE_S:
            self._measured_at = now
            self._aside("measure", self._measure())

    def _stalls(self, child: Child, now: float) -> bool:
        pulse, _ = child.page.signs()
        return pulse != 0 and now * 1e9 - max(pulse, self._awake_ns) > STALL_S * 1e9

    # Stalls.

    async def _end_stall(self, child: Child) -> None:
        inside = [placed for placed in self._loops.of(child) if child.seen(placed.slot).inside]
        places = {child.seen(placed.slot).thread or child.pid: placed for placed in inside}
        thread = await asyncio.to_thread(threads.holder, child.pid, places.keys())
        stack = await self._stack_of(child, thread) if thread else None
        if child.ended or child.doom is not None or not self._stalls(child, time.monotonic()):
            return
        culprit = self._culprit(child, places.get(thread), inside, stack)
        node = "" if culprit is None or stack is None else blame.blamed(stack, culprit.plan, self._loops.sources) or ""
        message = f"it has held the interpreter of its {child.role} host for {STALL_S:g} s"
        why = Why("host-stalled", message, node, "" if stack is None else stack.text)
        self._loops.casualties.stalled(child, culprit.number if culprit is not None else 0, why)

    async def _stack_of(self, child: Child, thread: int) -> Stack | None:
        before = child.faults.size
        with contextlib.suppress(OSError):
            linux.signal_thread(child.pid, thread, SHOW_STACK)
        await asyncio.sleep(WRITE_S)
        return child.last_stack() if not child.ended and child.faults.size > before else None

    def _culprit(
        self, child: Child, by_thread: Placed | None, inside: list[Placed], stack: Stack | None
    ) -> Placed | None:
        if by_thread is not None and (child.role == "thread" or len(inside) == 1):
            return by_thread
        if stack is None:
            return None
        blamed = [each for each in inside if blame.blamed(stack, each.plan, self._loops.sources) is not None]
        return blamed[0] if len(blamed) == 1 else None

    # Limits.

    async def _measure(self) -> None:
        for child in self._hosts.living():
            limits = self._limits_of(child)
            if child.ended or child.doom is not None or (limits.memory is None and limits.threads is None):
                continue
            usage = await asyncio.to_thread(measure, child.pid)
            why = judge(usage, limits)
            if why is not None and not child.ended:
                self._loops.casualties.over_limit(child, why)

    def _limits_of(self, child: Child) -> Resources:
        if child.role != "process":
            return self._limits
        return next((placed.plan.resources for placed in self._loops.of(child)), Resources())

    def _aside(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do one thing of a kind at a time."""
        if name in self._side:
            work.close()
            return
        task = self._side[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(lambda _: self._side.pop(name, None))


def measure(pid: int) -> Usage:
    """Return what a process uses, nothing if it is gone."""
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        found = None
    return Usage(0 if found is None else int(found[1]) * 1024, threads.count(pid))


def judge(usage: Usage, limits: Resources) -> Why | None:
    """Say which limit is exceeded. Pure."""
    if limits.memory is not None and usage.memory > limits.memory:
        message = f"it uses {usage.memory >> 20} MiB of memory, and its limit is {limits.memory >> 20} MiB"
        return Why("memory-limit", message)
    if limits.threads is not None and usage.threads > limits.threads:
        return Why("thread-limit", f"it has {usage.threads} threads, and its limit is {limits.threads}")
    return None
