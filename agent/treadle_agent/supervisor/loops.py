"""The shell around the loops' records: takes in assignments and news of children, and takes the steps decided."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.errors import ConfigError
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import loop_pb2
from treadle_agent.frames import (
    Address,
    Assign,
    Began,
    Drain,
    Ended,
    Figures,
    FromChild,
    Pause,
    Ready,
    Resume,
    Stop,
    Why,
)
from treadle_agent.supervisor import reconcile
from treadle_agent.supervisor.assignments import address_of, read_assignment
from treadle_agent.supervisor.child import PAGE_SLOTS, Child
from treadle_agent.supervisor.hosts import Hosts, from_outside
from treadle_agent.supervisor.record import Record, Run, Wanted
from treadle_agent.supervisor.status import mark, status_of

_log = logging.getLogger(__name__)

LINGER_S: Final = 5.0  # a loop process whose loop is over has this long to go by itself


@dataclass(frozen=True, slots=True)
class Reporter:
    """Whom the loops' news go to. Statuses: (status, urgent, last). Events: (address, code, message)."""

    status: Callable[[loop_pb2.LoopStatus, bool, bool], None]
    event: Callable[[Address, str, str], None]


@dataclass(slots=True)
class _Placed:
    """Where a run is."""

    record: Record
    child: Child
    slot: int


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
        self.sources: Mapping[str, str] = {}
        self.redis_id = ""
        self.hold: Why | None = None
        self.silent_s = 0.0
        self.changed = asyncio.Event()  # something ended; for those who wait until nothing runs
        self._reporter = reporter
        self._records: dict[Address, Record] = {}
        self._placed: dict[int, _Placed] = {}
        self._free_slots: dict[str, list[int]] = {}
        self._next_slot: dict[str, int] = {}
        self._said: dict[Address, tuple[Any, ...]] = {}
        self._numbers = itertools.count(1)
        self._timers: dict[Address, asyncio.TimerHandle] = {}

    @property
    def running(self) -> list[Record]:
        """The loops that have a run now."""
        return [record for record in self._records.values() if record.run is not None]

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
        if message.kind == wire.ASSIGNMENTS_KIND_COMPLETE:
            kept = {address_of(assignment.loop) for assignment in message.set}
            for record in list(self._records.values()):
                if record.address not in kept:
                    self._release(record)
        for release in message.releases:
            self._take_release(release)
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
        child = self.hosts.launch("process") if pool == "process" else self.hosts.shared(pool)  # type: ignore[arg-type]
        if wanted is None or child is None:
            return  # the host's successor asks for its loops
        number = next(self._numbers)
        slot = self._take_slot(child)
        run = Run(number, wanted.epoch, wanted.generation, requested=requested, paused=paused)
        reconcile.begin(record, run)
        record.process_id = child.pid
        self._placed[number] = _Placed(record, child, slot)
        child.send(self._assignment(wanted, number, slot, paused=paused))

    def _assignment(self, wanted: Wanted, number: int, slot: int, *, paused: bool) -> Assign:
        used = {step.uses for step in wanted.plan.steps if step.uses is not None}
        return Assign(
            run=number,
            slot=slot,
            address=wanted.address,
            redis_id=self.redis_id,
            epoch=wanted.epoch,
            revision=wanted.revision,
            plan=wanted.plan_json,
            queues=list(wanted.queues),
            sources={uses: self.sources[uses] for uses in used if uses in self.sources},
            paused=paused,
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
                for placed in self._of(child):
                    placed.record.process_id = pid
            case Began(run, incarnation, began):
                self._began(run, incarnation, began)
            case Figures(run):
                self._figures(run, frame)
            case Ended(run):
                self._ended(run, frame)

    def _began(self, run: int, incarnation: int, began: float) -> None:
        placed = self._placed.get(run)
        if placed is not None and placed.record.run is not None:
            placed.record.run.began = began
            placed.record.run.incarnation = placed.record.incarnation = incarnation
            placed.record.process_id = placed.child.pid
            placed.record.outages = 0
            placed.record.why = None
            self.report(placed.record)
            took_ms = (began - placed.record.run.requested) * 1000
            message = f"incarnation {incarnation} runs in process {placed.child.pid}, {took_ms:.1f} ms after its start"
            self._reporter.event(placed.record.address, "loop-started", message)

    def _figures(self, run: int, figures: Figures) -> None:
        placed = self._placed.get(run)
        if placed is not None:
            mark(placed.record, self._clock(), figures)
            self.report(placed.record)

    def _ended(self, run: int, ended: Ended) -> None:
        placed = self._placed.pop(run, None)
        if placed is None:
            return
        self._give_slot(placed.child, placed.slot)
        if placed.child.role == "process":
            # It goes by itself; a node that left a thread or an exit hook behind does not hold it.
            asyncio.get_running_loop().call_later(LINGER_S, placed.child.kill)
        self._take_end(placed.record, ended)

    def _take_end(self, record: Record, ended: Ended) -> None:
        now = self._clock()
        if reconcile.end(record, ended, now=now, jitter=self._jitter()):
            why = ended.why or Why("failed", "the loop failed")
            where = f"{why.node}: " if why.node else ""
            _log.warning("loop %s failed: %s%s", record.address, where, why.message, extra={"code": why.code})
            self._reporter.event(record.address, "loop-failed", f"{where}{why.message}")
        self.look(record)
        self.changed.set()

    def gone(self, child: Child, code: int) -> None:
        """Take in that a child is gone, and its runs with it. Its innocent loops are started again at once."""
        mine = self._of(child)
        for placed in mine:
            self._placed.pop(placed.record.run.number if placed.record.run is not None else 0, None)
        self._free_slots.pop(child.marker, None)
        self._next_slot.pop(child.marker, None)
        for placed in mine:
            run = self._run(placed.record)
            self._reporter.event(placed.record.address, "host-died", f"its {child.role} process ended with {code}")
            self._take_end(placed.record, _end_of(run, child, code))

    def _of(self, child: Child) -> list[_Placed]:
        return [placed for placed in self._placed.values() if placed.child is child]

    # Reporting.

    def report(self, record: Record) -> None:
        """Tell the controller what a loop is: at once when that changed, else with the next heartbeat."""
        status = status_of(record, hold=self.hold, silent_s=self.silent_s)
        said = (status.state, status.epoch, status.sequence, status.incarnation, status.reason.code)
        before = self._said.get(record.address)
        self._said[record.address] = said
        self._reporter.status(status, said != before, False)

    # Slots of the shared-memory page.

    def _take_slot(self, child: Child) -> int:
        free = self._free_slots.setdefault(child.marker, [])
        if free:
            return free.pop()
        slot = self._next_slot.get(child.marker, 0)
        self._next_slot[child.marker] = slot + 1
        return slot % PAGE_SLOTS[child.role]

    def _give_slot(self, child: Child, slot: int) -> None:
        if child.marker in self._free_slots:
            self._free_slots[child.marker].append(slot)


def _end_of(run: Run, child: Child, code: int) -> Ended:
    """Say how a run ended whose process is gone.

    A loop process that ended by itself was ended by its loop. In a shared host any loop may have done it, and one
    that somebody killed tells nothing: nobody is charged.
    """
    what = f"signal {-code}" if code < 0 else f"exit code {code}"
    how = f"was killed: {child.broken}" if child.broken else f"ended with {what}"
    why = Why("host-died", f"its {child.role} process ({child.pid}) {how}")
    if child.role == "process" and (child.broken or not from_outside(code)):
        return Ended(run.number, "failed", Why("process-died", why.message))
    return Ended(run.number, "host-died", why)


def order_of_draining(records: Iterable[Record]) -> list[Record]:
    """Return those that may be drained now: no other running loop here still writes what they read.

    Producers come first, then their readers, and so on; on a cycle all that is left go together.
    """
    left = [record for record in records if record.run is not None]
    writes = {
        queue: record.address for record in left if record.wanted is not None for queue in record.wanted.plan.writes
    }
    first = [record for record in left if not _is_fed(record, writes)]
    return first or left


def _is_fed(record: Record, writes: Mapping[str, Address]) -> bool:
    reads = record.wanted.plan.reads if record.wanted is not None else ()
    return any(writes.get(queue, record.address) != record.address for queue in reads)
