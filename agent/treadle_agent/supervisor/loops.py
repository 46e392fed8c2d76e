"""The shell around the loops' records: takes in assignments and news of children, and takes the steps decided."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.errors import ConfigError
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import loop_pb2
from treadle.workflow.plan import Plan
from treadle_agent.frames import (
    Address,
    Assign,
    Began,
    Cleared,
    Drain,
    Ended,
    Figures,
    FromChild,
    Incident,
    Pause,
    Ready,
    Resume,
    Stop,
    Suspect,
    Trouble,
    Why,
)
from treadle_agent.supervisor import reconcile
from treadle_agent.supervisor.assignments import address_of, read_assignment
from treadle_agent.supervisor.blame import Alone
from treadle_agent.supervisor.casualties import Casualties
from treadle_agent.supervisor.child import Child
from treadle_agent.supervisor.hosts import Hosts
from treadle_agent.supervisor.record import Record, Run, Wanted
from treadle_agent.supervisor.slots import Slots
from treadle_agent.supervisor.status import mark, status_of

_log = logging.getLogger(__name__)

LINGER_S: Final = 5.0  # a loop process whose loop is over has this long to go by itself


@dataclass(frozen=True, slots=True)
class Reporter:
    """Whom the loops' news go to. Statuses: (status, urgent, last). Events: (address, code, message)."""

    status: Callable[[loop_pb2.LoopStatus, bool, bool], None]
    event: Callable[[Address, str, str], None]
    began: Callable[[Record], None] = lambda _: None  # the first execution of a loop follows


@dataclass(slots=True)
class Placed:
    """Where a run is."""

    record: Record
    child: Child
    slot: int
    number: int
    plan: Plan


class Loops:
    """All loops of this agent. `sources` names the module of each node type, once the catalog is known."""

    def __init__(
        self,
        reporter: Reporter,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self.hosts: Hosts
        self.casualties = Casualties(self)
        self.sources: Mapping[str, str] = {}
        self.redis_id = ""
        self.hold: Why | None = None
        self.silent_s = 0.0
        self.changed = asyncio.Event()  # something ended; for those who wait until nothing runs
        self._reporter = reporter
        self._records: dict[Address, Record] = {}
        self._placed: dict[int, Placed] = {}
        self._slots = Slots()
        self._said: dict[Address, tuple[Any, ...]] = {}
        self._numbers = itertools.count(1)
        self._timers: dict[Address, asyncio.TimerHandle] = {}

    @property
    def running(self) -> list[Record]:
        """The loops that have a run now."""
        return [record for record in self._records.values() if record.run is not None]

    @property
    def records(self) -> list[Record]:  # all that are known here
        return list(self._records.values())

    def placed(self, run: int) -> Address | None:
        """Return the loop of a run, None when it is over."""
        placed = self._placed.get(run)
        return None if placed is None else placed.record.address

    def runs_of(self, child: Child) -> list[Address]:
        """Return the loops that a child runs."""
        return [placed.record.address for placed in self._placed.values() if placed.child is child]

    # What the controller wants.

    def take(self, message: wire.Assignments) -> None:
        """Take in assignments and releases."""
        wanted = [self._read(assignment) for assignment in message.set]
        for release in message.releases:
            self._take_release(release)
        if message.kind == wire.ASSIGNMENTS_KIND_COMPLETE:
            kept = {address_of(assignment.loop) for assignment in message.set}
            for record in list(self._records.values()):
                if record.address not in kept:
                    self._release(record)
        for each in wanted:
            if each is not None:
                record = self._records.setdefault(each.address, Record(each.address))
                reconcile.assign(record, each)
                self.look(record)

    def _read(self, assignment: wire.Assignment) -> Wanted | None:
        try:
            return read_assignment(assignment)
        except ConfigError as exc:
            _log.error("an assignment is refused: %s", exc.message)
            status = loop_pb2.LoopStatus(
                loop=assignment.loop,
                epoch=assignment.epoch,
                sequence=assignment.sequence,
                state=loop_pb2.LOOP_STATE_ERROR,
                reason=loop_pb2.Reason(code=exc.code, message=exc.message),
            )
            self._reporter.status(status, True, False)
            return None

    def _take_release(self, release: wire.Release) -> None:
        record = self._records.get(address_of(release.loop))
        if record is None:
            status = loop_pb2.LoopStatus(loop=release.loop, epoch=release.epoch, state=loop_pb2.LOOP_STATE_STOPPED)
            self._reporter.status(status, True, True)
        elif record.wanted is None or record.wanted.epoch <= release.epoch:
            self._release(record)

    def _release(self, record: Record) -> None:
        reconcile.release(record)
        self.look(record)

    # Looking again.

    def look_at_all(self) -> None:
        """Reconcile every loop: something changed that concerns them all."""
        for record in list(self._records.values()):
            self.look(record)

    def look_at_touchy(self) -> None:
        """Reconcile the loops that must not run while the controller is silent."""
        for record in list(self._records.values()):
            if record.wanted is not None and record.wanted.plan.on_lost_contact_s is not None:
                self.look(record)

    def look_at_pool(self, pool: str) -> None:
        """Reconcile the loops of a pool: its host is there again."""
        for record in list(self._records.values()):
            if record.wanted is not None and record.wanted.plan.pool == pool:
                self.look(record)

    def look(self, record: Record) -> None:
        """Take the next step for a loop, and report what it is."""
        now = self._clock()
        match reconcile.decide(record, now=now, hold=self.hold, silent_s=self.silent_s):
            case reconcile.Start(paused):
                self._start(record, paused=paused)
            case reconcile.DrainRun():
                self.drain(record)
            case reconcile.PauseRun():
                self._tell(record, Pause)
                self._run(record).paused = True
            case reconcile.ResumeRun():
                self._tell(record, Resume)
                self._run(record).paused = False
            case reconcile.Forget():
                self._forget(record)
                return
            case None:
                self._wake_later(record, now)
        self.report(record)

    def _wake_later(self, record: Record, now: float) -> None:
        if record.run is None and record.waits and now < record.retry_at and record.address not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[record.address] = loop.call_later(record.retry_at - now, self._wake, record.address)

    def _wake(self, address: Address) -> None:
        self._timers.pop(address, None)
        record = self._records.get(address)
        if record is not None:
            self.look(record)

    # Steps.

    def _start(self, record: Record, *, paused: bool) -> None:
        requested = time.time()
        wanted = record.wanted
        pool = wanted.plan.pool if wanted is not None else ""
        own = pool == "process" or record.alone is not None
        child = self.hosts.launch("process") if own else self.hosts.shared(pool)  # type: ignore[arg-type]
        if wanted is None or child is None:
            return  # the host's successor asks for its loops
        number = next(self._numbers)
        slot = self._slots.take(child)
        run = Run(number, wanted.epoch, wanted.generation, requested=requested, paused=paused)
        run.alone = own and pool != "process"
        reconcile.begin(record, run)
        record.process_id = child.pid
        self._placed[number] = Placed(record, child, slot, number, wanted.plan)
        child.send(self._assignment(record, wanted, run, slot))

    def _assignment(self, record: Record, wanted: Wanted, run: Run, slot: int) -> Assign:
        used = {step.uses for step in wanted.plan.steps if step.uses is not None}
        return Assign(
            run=run.number,
            slot=slot,
            address=wanted.address,
            redis_id=self.redis_id,
            epoch=wanted.epoch,
            revision=wanted.revision,
            plan=wanted.plan_json,
            queues=list(wanted.queues),
            sources={uses: self.sources[uses] for uses in used if uses in self.sources},
            paused=run.paused,
            alone=run.alone,
            suspect=record.alone.suspect if record.alone is not None else None,
            careful=not record.known,
        )

    def drain(self, record: Record) -> None:
        """Have a loop stop at an iteration boundary, if it runs and is not on its way already."""
        if record.run is not None and not record.run.draining:
            record.run.draining = True
            self._tell(record, Drain)
            self.report(record)

    def stop_now(self, record: Record) -> None:
        """Have a loop end at once, and kill its process if it has one of its own."""
        placed = self._placed.get(record.run.number) if record.run is not None else None
        if placed is not None:
            self._tell(record, Stop)
            if placed.child.role == "process":
                placed.child.kill()

    def _tell(self, record: Record, frame: type[Drain | Stop | Pause | Resume]) -> None:
        run = self._run(record)
        placed = self._placed.get(run.number)
        if placed is not None:
            placed.child.send(frame(run.number))

    def _run(self, record: Record) -> Run:
        if record.run is None:
            raise LookupError(f"{record.address} has no run")
        return record.run

    def _forget(self, record: Record) -> None:
        self._records.pop(record.address, None)
        self._said.pop(record.address, None)
        timer = self._timers.pop(record.address, None)
        if timer is not None:
            timer.cancel()
        self._reporter.status(status_of(record), True, True)
        self.changed.set()

    # What children say.

    def hear(self, child: Child, frame: FromChild) -> None:
        """Take in a frame of a pool host or a loop process."""
        match frame:
            case Ready(pid):
                child.pid = child.pid or pid
                for placed in self.of(child):
                    placed.record.process_id = pid
            case Began(run, incarnation, began):
                self._began(run, incarnation, began)
            case Figures(run):
                self._figures(run, frame)
            case Ended(run):
                self._ended(run, frame)
            case Cleared(run, dead):
                self._cleared(run, dead)
            case Trouble():
                self.casualties.trouble(child, frame)

    def _began(self, run: int, incarnation: int, began: float) -> None:
        placed = self._placed.get(run)
        if placed is not None and (started := placed.record.run) is not None:
            record, pid = placed.record, placed.child.pid
            started.began, started.incarnation, record.incarnation = began, incarnation, incarnation
            record.process_id, record.outages, record.why = pid, 0, None
            self.report(record)
            took = f"{(began - started.requested) * 1000:.1f} ms after its start"
            self._reporter.event(record.address, "loop-started", f"incarnation {incarnation} in process {pid}, {took}")
            self._reporter.began(record)

    def _figures(self, run: int, figures: Figures) -> None:
        placed = self._placed.get(run)
        if placed is not None:
            mark(placed.record, self._clock(), figures, wall=time.time())
            self.report(placed.record)

    def _ended(self, run: int, ended: Ended) -> None:
        placed = self._placed.pop(run, None)
        if placed is None:
            return
        self._slots.give(placed.child, placed.slot)
        if ended.kind == "failed" and ended.why is not None and placed.record.figures is None:
            reconcile.remember(placed.record, Incident(time.time(), ended.why))  # it failed before it began
        if placed.child.role == "process":
            # It goes by itself; a node that left a thread or an exit hook behind does not hold it.
            asyncio.get_running_loop().call_later(LINGER_S, placed.child.kill)
        self.take_end(placed.record, ended)
        self.casualties.kill_if_empty(placed.child)

    def take_end(self, record: Record, ended: Ended) -> None:
        """Take in how a run ended, and go on from there."""
        now = self._clock()
        if reconcile.end(record, ended, now=now, jitter=self._jitter()):
            why = ended.why or Why("failed", "the loop failed")
            where = f"{why.node}: " if why.node else ""
            _log.warning("loop %s failed: %s%s", record.address, where, why.message, extra={"code": why.code})
            self._reporter.event(record.address, "loop-failed", f"{where}{why.message}")
        if record.waits:
            record.retry_time = time.time() + max(0.0, record.retry_at - now)
        self.look(record)
        self.changed.set()

    def gone(self, child: Child, code: int) -> None:
        """Take in that a child is gone, and its runs with it. Its innocent loops are started again at once."""
        self.casualties.gone(child, code)

    def _cleared(self, run: int, dead: list[Suspect]) -> None:
        """Take in that a loop is past what was suspected: it may go back to its pool."""
        placed = self._placed.get(run)
        if placed is None:
            return
        record = placed.record
        for each in dead:
            self.tell(record.address, "dead-letter", f"{each} ended its process again and again: it is a dead letter")
        if record.alone is not None:
            record.alone = Alone(stays=True) if record.alone.stays else None
        self.look(record)

    # For those who judge.

    def now(self) -> float:
        return self._clock()

    def tell(self, address: Address, code: str, message: str) -> None:
        """Report an event."""
        self._reporter.event(address, code, message)

    def of(self, child: Child) -> list[Placed]:
        """Return the runs of a child."""
        return [placed for placed in self._placed.values() if placed.child is child]

    def placed_run(self, run: int) -> Placed | None:
        """Return where a run is, None when it is over."""
        return self._placed.get(run)

    def forget_run(self, placed: Placed) -> None:
        """Take a run for over: its child is not asked, and its slot stays taken."""
        self._placed.pop(placed.number, None)

    def forget_runs(self, child: Child) -> list[Placed]:
        """Take all runs of a child for over, and return them."""
        mine = self.of(child)
        for placed in mine:
            self.forget_run(placed)
        self._slots.forget(child)
        return mine

    # Reporting.

    def report(self, record: Record) -> None:
        """Tell the controller what a loop is: at once when that changed, else with the next heartbeat."""
        status = status_of(record, hold=self.hold, silent_s=self.silent_s)
        said = (status.state, status.epoch, status.sequence, status.incarnation, status.reason.code)
        before = self._said.get(record.address)
        self._said[record.address] = said
        self._reporter.status(status, said != before, False)
