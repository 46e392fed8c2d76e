"""Simulated pool hosts: loops that incarnate, commit now and then, and end. What they tell is what real hosts tell.

They live in a process of their own beside the supervisor: when it is frozen they go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import msgspec

from tests.chaos.cluster.clockwork import Process
from tests.chaos.cluster.fences import Fences, Hold
from treadle.workflow.plan import Plan
from treadle_agent.frames import Assign, Began, Drain, Ended, Figures, FromChild, Pause, Resume, Stop, ToChild, Why
from treadle_agent.page import Seen

_plan = msgspec.json.Decoder(Plan).decode
_FENCED: Final = Why("fenced", "another tenure holds the loop")
_UNREACHABLE: Final = Why("redis-unreachable", "Redis does not answer")
_FIGURES_S: Final = 2.0
COMPLETES: Final = "once"  # loops of this name complete
_COMPLETES_AFTER: Final = 8


@dataclass(slots=True)
class Pace:
    """How quick loops are, in seconds; 0 for `commit_s` is one commit at the start and none later."""

    commit_s: float = 0.8
    open_s: float = 0.02


class Machine:
    """The machine that an agent runs on: its children, its way to Redis."""

    def __init__(self, name: str, process: Process, fences: Fences, chance: Random, pace: Pace) -> None:
        self.name = name
        self.process = process  # of the children
        self.fences = fences
        self.chance = chance
        self.pace = pace
        self.redis_reachable = True
        self.runs: dict[int, Run] = {}  # those that are not over
        self.say: Callable[[FromChild, Child], None] = lambda _frame, _child: None
        self.on_start: Callable[[Run], None] = lambda _run: None


class Child:
    """A pool host or a loop process, as the supervisor sees it."""

    def __init__(self, machine: Machine, role: str, number: int) -> None:
        self.machine = machine
        self.role = role
        self.pid = number
        self.marker = f"{machine.name}.{role}.{number}"
        self.dead = False
        self.broken = ""  # what it said that is none of its words
        self.doom: Why | None = None
        self.culprit = 0
        self.innocent = False
        self.retired = False
        self.runs: dict[int, Run] = {}

    def seen(self, _slot: int) -> Seen:
        """Its loops are quick: none is inside an iteration when it dies."""
        return Seen()

    def last_stack(self) -> None:
        """It left none."""

    def send(self, frame: ToChild) -> None:
        if self.dead:
            return
        if isinstance(frame, Assign):
            self.runs[frame.run] = Run(self, frame)
        elif isinstance(frame, Drain | Stop | Pause | Resume) and frame.run in self.runs:
            self.machine.process.call_soon(self.runs[frame.run].control, frame)

    def kill(self) -> None:
        """End it with all that it runs; tells nobody."""
        self.dead = True
        for run in list(self.runs.values()):
            run.forget()


class Run:
    """One run of one loop."""

    def __init__(self, child: Child, assign: Assign) -> None:
        self.child = child
        self.key = assign.address.key
        self.epoch = assign.epoch
        self.inc = 0
        self.number = assign.run
        self.name = f"{child.marker}#{assign.run}"
        self.paused = assign.paused
        self.draining = False
        self.over = False
        self.fails = False  # its next iteration raises
        self.commits = 0
        plan = _plan(assign.plan)
        self._pushes, self._pops = plan.writes, plan.reads
        self._machine = child.machine
        self._machine.runs[id(self)] = self
        self._machine.on_start(self)
        self._after(self._machine.pace.open_s * (4.0 if child.role == "process" else 1.0), self._open)

    def control(self, frame: object) -> None:
        match frame:
            case Drain():
                self.draining = True
                self._after(0.1, self._drain)
            case Stop():
                self._end("stopped")
            case Pause():
                self.paused = True
                self._tell_figures()
            case Resume():
                self.paused = False
                self._tell_figures()

    def forget(self) -> None:
        self.over = True
        self._machine.runs.pop(id(self), None)
        self.child.runs.pop(self.number, None)

    def _after(self, most_s: float, step: Callable[[], None]) -> None:
        self._machine.process.call_later(most_s * (0.2 + 0.8 * self._machine.chance.random()), step)

    def _open(self) -> None:
        if self.over:
            return
        if not self._machine.redis_reachable:
            self._end("unreachable", _UNREACHABLE)
            return
        hold = self._machine.fences.holds.get(self.key, Hold())
        inc = self._machine.fences.incarnate(self.key, self.epoch, hold.inc, self.name)
        if inc is None:
            self._end("lost", _FENCED)
        elif hold.completed:
            self._end("completed")
        elif not self.draining:
            self.inc = inc
            self._tell(Began(self.number, inc, self._machine.process.time()))
            self._after(self._machine.pace.commit_s or 0.01, self._work)
            if self._machine.pace.commit_s:
                self._after(_FIGURES_S, self._report)

    def _work(self) -> None:
        """Commit an iteration, and come back for the next."""
        if self.over or self.draining:
            return
        if self.fails and not self.paused:
            self._end("failed", Why("exception", "ValueError: bad luck", node="n"))
            return
        if not self.paused and self._machine.redis_reachable:
            self.commits += 1
            completed = self.key.loop == COMPLETES and self.commits >= _COMPLETES_AFTER
            if not self._commit(completed=completed):
                return
            if completed:
                self._end("completed")
                return
        if self._machine.pace.commit_s:
            self._after(self._machine.pace.commit_s, self._work)

    def _commit(self, *, completed: bool = False) -> bool:
        fences = self._machine.fences
        if not fences.commit(self.key, self.epoch, self.inc, self.name, completed=completed):
            self._end("lost", _FENCED)
            return False
        for queue in self._pushes:
            fences.depths[queue] = fences.depths.get(queue, 0) + 1
        for queue in self._pops:
            fences.depths[queue] = max(0, fences.depths.get(queue, 0) - 2)
        return True

    def _drain(self) -> None:
        """Commit what is in flight, and end; not before Redis can be reached."""
        if self.over:
            return
        if not self._machine.redis_reachable:
            self._after(0.5, self._drain)
        elif not self.inc or self._commit():
            self._end("drained")

    def _report(self) -> None:
        if not self.over:
            self._tell_figures()
            self._after(_FIGURES_S, self._report)

    def _tell_figures(self) -> None:
        hold = self._machine.fences.holds.get(self.key, Hold())
        self._tell(Figures(self.number, self.paused, hold.iteration, 0, 0, 0, [], []))

    def _end(self, kind: str, why: Why | None = None) -> None:
        if not self.over:
            self.forget()
            self._tell(Ended(self.number, kind, why))

    def _tell(self, frame: FromChild) -> None:
        self._machine.say(frame, self.child)


class Hosts:
    """The children of one agent process: what Loops asks of Hosts."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._shared: dict[str, Child] = {}
        self._numbers = 100

    def launch(self, role: str) -> Child:
        self._numbers += 1
        return Child(self._machine, role, self._numbers)

    def shared(self, pool: str) -> Child | None:
        if pool not in self._shared:
            self._shared[pool] = self.launch(pool)
        child = self._shared[pool]
        return None if child.dead else child

    def living(self) -> list[Child]:
        return [child for child in self._shared.values() if not child.dead]

    def replace(self, role: str) -> None:
        """Have a new shared host."""
        self._shared[role] = self.launch(role)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"simulated hosts have no {name!r}: Loops asks for more than it did")
