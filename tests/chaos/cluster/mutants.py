"""Faults in the product that the simulation has to see: each is a small, plausible change to the real code.

`planted(name)` puts one in for the length of a block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from tests.chaos.cluster.disk import DiskStore
from tests.chaos.cluster.faults import Kind
from tests.chaos.cluster.fences import Fences
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_agent.session.machine import Machine
from treadle_agent.session.outputs import Deliver
from treadle_agent.supervisor.loops import Loops
from treadle_controller.cluster.fleet import Fleet
from treadle_controller.cluster.sessions import Sessions, _Record
from treadle_controller.leader import Leader
from treadle_controller.leader.image import Image
from treadle_controller.leader.leaving import Leaving
from treadle_controller.leader.roster import Roster
from treadle_controller.leader.stream import AgentStream


def _expect_at_once(self: Sessions, agent: str) -> None:
    started = self._judges_from - self._settings.grace_s - self.lease_s
    self._records[agent] = _Record(deadline=started + self._settings.hold_s)


def _any_close(self: Sessions, agent: str, _session: str, now: float) -> bool:
    record = self._records.get(agent)
    if record is None:
        return False
    record.session, record.deadline = "", self._end_of_hold(record, now)
    return True


_tick = Sessions.tick


def _tick_without_lease(self: Sessions, now: float) -> Any:
    live = {name: record.deadline for name, record in self._records.items() if record.session}
    for name in live:
        self._records[name].deadline = None
    lost = _tick(self, now)
    for name, deadline in live.items():
        self._records[name].deadline = deadline
    return lost


def _any_beat(self: Roster, stream: Any, _session: str) -> bool:
    self.sessions.beat(stream.agent, self.sessions.live(stream.agent), self._leader.clock())
    return True


def _end_nothing(self: Roster, _agent: str, _session: str, _why: Any) -> None:
    pass


_persist = Leader.persist


async def _persist_later(self: Leader, changes: Any) -> None:
    writing = asyncio.ensure_future(_persist(self, changes))
    writing.add_done_callback(lambda done: done.exception())
    await asyncio.sleep(0)


_next_epoch = Image.next_epoch


def _epoch_of_this_process(self: Image) -> int:
    """Count from one in each process, as if the counter were not stored."""
    counts: dict[int, int] = _epoch_of_this_process.__dict__.setdefault("counts", {})
    counts[id(self)] = counts.get(id(self), 0) + 1
    self.epoch = counts[id(self)]
    return self.epoch


def _any_increment(self: Machine, message: pb.Assignments, _now: float) -> Any:
    self._reference = message.results_in
    return [Deliver(message)]


def _any_commit(self: Fences, hold: Any, epoch: int, inc: int) -> bool:
    return True


def _any_status(self: Roster, agent: str, status: Any) -> Any:
    found = self._image.workflows.get(status.loop.workflow)
    held = [] if found is None else list(found.assignments.values())
    for one in held:
        if (one.id.loop, one.id.replica) == (status.loop.loop, status.loop.replica):
            status.epoch, agent = one.epoch, one.agent
    return _observe_one(self, agent, status)


_observe_one = Roster._observe_one


def _adopt_nothing(self: Roster, hello: pb.Hello) -> None:
    """Give new epochs to whatever an agent runs when it comes back."""
    for workflow, one in self._image.held_by(hello.agent):
        workflow.observed.pop(one.id, None)
    self._leader._renew_everything()


def _keep_all(self: Loops, message: pb.Assignments) -> None:
    if message.kind == pb.ASSIGNMENTS_KIND_COMPLETE:
        incremental = pb.Assignments()
        incremental.CopyFrom(message)
        incremental.kind = pb.ASSIGNMENTS_KIND_INCREMENTAL
        message = incremental
    _take(self, message)


_take = Loops.take


def _never_again(self: Roster, _id: Any) -> None:
    pass


def _answer_beat_alone(self: AgentStream, sequence: int, _interval_s: float | None = None) -> None:
    self.send(pb.SessionResponse(heartbeat_answer=pb.HeartbeatAnswer(sequence=sequence)))


_redis = Leaving.redis


def _redis_long_gone(self: Leaving, name: str, *, reachable: bool, silence_s: float) -> None:
    _redis(self, name, reachable=reachable, silence_s=silence_s + 9.0)


def _never_begun(self: Sessions, _now: float) -> None:
    pass


def _patient_for_ever(self: Machine) -> list[float]:
    return []


def _never_postponed(self: Sessions, _seconds: float) -> None:
    pass


def _give_nothing(self: Fleet, _name: str, _pool: str) -> None:
    pass


async def _write_later(self: DiskStore, write: Any) -> Any:
    """Say that it is written as soon as it is handed in; only what has a result is waited for."""
    writing = asyncio.ensure_future(_write(self, write))
    if self._process.time() < 1.0 or "load" in write.__qualname__.lower():
        return await writing
    return None


_write = DiskStore.write

_LINKS: Final = (Kind.PARTITION, Kind.CUT, Kind.SLOW_LINK)
_PEOPLE: Final = (Kind.PAUSE, Kind.STOP, Kind.APPLY, Kind.RESTART)
_AGENTS: Final = (Kind.AGENT_KILLED, Kind.AGENT_FROZEN)
_CONTROLLER: Final = (Kind.CONTROLLER_KILLED,)


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is changed, and the kinds of faults in which it matters."""

    changes: tuple[tuple[Any, str, Callable[..., Any]], ...]
    shows_in: tuple[Kind, ...]


MUTANTS: Final = {
    "no adoption grace": Mutant(
        ((Sessions, "expect", _expect_at_once), (Sessions, "begin", _never_begun)), _CONTROLLER
    ),
    "a late end of a stream closes the session that replaced it": Mutant(((Sessions, "close", _any_close),), _LINKS),
    "the lease of a live session never ends": Mutant(((Sessions, "tick", _tick_without_lease),), (Kind.AGENT_GONE,)),
    "our own pause is taken for silence": Mutant(
        ((Sessions, "postpone", _never_postponed),), (Kind.CONTROLLER_FROZEN,)
    ),
    "an older session goes on": Mutant(((Roster, "beat", _any_beat), (Roster, "_end", _end_nothing)), _LINKS),
    "epochs are used before they are on disk": Mutant(((Leader, "persist", _persist_later),), _AGENTS),
    "epochs begin anew with each controller": Mutant(
        ((Image, "next_epoch", _epoch_of_this_process),), _CONTROLLER + _AGENTS
    ),
    "a command is answered before it is on disk": Mutant(
        ((DiskStore, "write", _write_later),), _CONTROLLER + _PEOPLE + (Kind.DISK_SLOW,)
    ),
    "changes are accepted on a gap": Mutant(
        ((Machine, "_assignments", _any_increment),), (Kind.LOST_MESSAGE, *_PEOPLE)
    ),
    "a lost assignment is neither missed nor sent again": Mutant(
        ((Roster, "_send_again", _never_again), (AgentStream, "answer_beat", _answer_beat_alone)),
        (Kind.LOST_MESSAGE, *_PEOPLE),
    ),
    "an agent is taken for starved too soon": Mutant(
        ((Leaving, "redis", _redis_long_gone),), (Kind.REDIS_CUT, Kind.STARVED)
    ),
    "an overdue answer is waited for": Mutant(((Machine, "_due_answers", _patient_for_ever),), _LINKS),
    "Redis does not check epochs": Mutant(((Fences, "_may_commit", _any_commit),), (Kind.AGENT_FROZEN, Kind.PARTITION)),
    "a status of an older epoch, or another agent's, is taken": Mutant(
        ((Roster, "_observe_one", _any_status),), (Kind.AGENT_FROZEN, Kind.PARTITION)
    ),
    "what comes back is started anew": Mutant(((Roster, "_adopt", _adopt_nothing),), (*_CONTROLLER, *_LINKS)),
    "an agent keeps what the full set does not have": Mutant(
        ((Loops, "take", _keep_all),), (Kind.AGENT_FROZEN, Kind.PARTITION)
    ),
    "slots are never given back": Mutant(((Fleet, "give", _give_nothing),), (*_AGENTS, Kind.PARTITION)),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Put a mutant in."""
    with ExitStack() as stack:
        for owner, attribute, changed in MUTANTS[name].changes:
            stack.enter_context(patch.object(owner, attribute, changed))
        yield
