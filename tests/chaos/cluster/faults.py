"""What goes wrong, when, and for how long: made from a seed, plain data, so that a schedule can be cut short."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final


class Kind(StrEnum):
    """What may happen. The names are those of a failure's printed schedule."""

    AGENT_KILLED = "agent killed"  # and started again
    AGENT_GONE = "agent's machine gone for good"
    AGENT_FROZEN = "agent frozen"
    AGENT_STOPPED = "agent stopped by SIGTERM"
    RIVAL = "second agent of the same name"
    HOST_DIES = "pool host dies"
    LOOP_FAILS = "loop fails"
    PARTITION = "link partitioned"
    CUT = "stream reset"
    SLOW_LINK = "link slow"
    LOST_MESSAGE = "assignments lost in a stream"
    REDIS_CUT = "agent cut off from Redis"
    CONTROLLER_KILLED = "controller killed"
    CONTROLLER_FROZEN = "controller frozen"
    CONTROLLER_CUT = "controller cut off from Redis"
    DISK_SLOW = "disk slow"
    APPLY = "somebody applies another revision"
    PAUSE = "somebody pauses a workflow, and has it go on"
    STOP = "somebody stops a workflow, and starts it"
    RESTART = "somebody restarts a loop"
    CORDON = "somebody cordons an agent, and takes it back"
    DRAIN = "somebody drains an agent, and takes it back"
    DRAIN_FORCED = "somebody drains an agent with little time"
    STARVED = "agent without Redis until its loops go elsewhere"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `value` is in [0, 1) and settles what else there is to settle; `flags` are two coins."""

    at: float
    kind: Kind
    agent: int
    lasts: float
    value: float
    flags: tuple[bool, bool]

    @property
    def until(self) -> float:
        return self.at + self.lasts

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.kind} (agent {self.agent}, {self.lasts:.2f} s, {self.value:.2f}, {self.flags})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cluster and what happens to it. In a gentle one nothing may move, and nothing may start twice."""

    seed: int
    agents: int
    gentle: bool
    faults: tuple[Fault, ...]

    @property
    def quiet_at(self) -> float:
        return max((fault.until for fault in self.faults), default=FIRST_S)


FIRST_S: Final = 3.0
_LAST_S: Final = 20.0
_MOST_FAULTS: Final = 6
_GENTLE: Final = (Kind.CONTROLLER_KILLED, Kind.CONTROLLER_FROZEN, Kind.DISK_SLOW, Kind.SLOW_LINK, Kind.CUT)
_ONCE: Final = (Kind.AGENT_GONE,)
_LASTS: Final = {  # seconds, from and to
    Kind.AGENT_KILLED: (0.2, 6.0),
    Kind.AGENT_FROZEN: (0.5, 12.0),
    Kind.AGENT_STOPPED: (7.0, 9.0),
    Kind.RIVAL: (0.5, 6.0),
    Kind.HOST_DIES: (1.0, 1.0),
    Kind.LOOP_FAILS: (2.0, 2.0),
    Kind.LOST_MESSAGE: (6.0, 6.0),  # until it is sent again
    Kind.APPLY: (2.0, 2.0),
    Kind.RESTART: (2.0, 2.0),
    Kind.PARTITION: (0.2, 12.0),
    Kind.SLOW_LINK: (2.0, 8.0),
    Kind.REDIS_CUT: (1.0, 8.0),
    Kind.CONTROLLER_KILLED: (0.3, 12.0),
    Kind.CONTROLLER_FROZEN: (0.3, 8.0),
    Kind.CONTROLLER_CUT: (0.5, 6.0),
    Kind.DISK_SLOW: (1.0, 6.0),
    Kind.PAUSE: (0.5, 4.0),
    Kind.STOP: (0.5, 4.0),
    Kind.CORDON: (0.5, 5.0),
    Kind.DRAIN: (0.5, 5.0),
    Kind.DRAIN_FORCED: (1.0, 6.0),
    Kind.STARVED: (10.5, 16.0),
}
# The controller dies and links fail more often than anything else, since most of what can go wrong begins there.
_WEIGHTS: Final = {
    Kind.CONTROLLER_KILLED: 4,
    Kind.PARTITION: 3,
    Kind.AGENT_KILLED: 3,
    Kind.AGENT_FROZEN: 2,
    Kind.CUT: 2,
}


def make_schedule(seed: int, only: Collection[Kind] = ()) -> Schedule:
    """Make the schedule of a seed, of these kinds of faults if any are named."""
    chance = Random(f"schedule {seed}")
    gentle = seed % 4 == 0 and not only
    agents = chance.randint(2, 4)
    kinds = list(only or (_GENTLE if gentle else Kind))
    weights = [_WEIGHTS.get(kind, 1) for kind in kinds]
    faults: list[Fault] = []
    for _ in range(chance.randint(1, 3 if gentle else _MOST_FAULTS)):
        kind = chance.choices(kinds, weights)[0]
        if kind in _ONCE and any(fault.kind in _ONCE for fault in faults):
            continue
        faults.append(_fault(chance, kind, agents))
    faults.sort(key=lambda fault: fault.at)
    return Schedule(seed, agents, gentle, tuple(_apart(faults) if gentle else faults))


def _fault(chance: Random, kind: Kind, agents: int) -> Fault:
    low, high = _LASTS.get(kind, (0.0, 0.0))
    return Fault(
        at=round(chance.uniform(FIRST_S, _LAST_S), 3),
        kind=kind,
        agent=chance.randrange(agents),
        lasts=round(chance.uniform(low, high), 3),
        value=chance.random(),
        flags=(chance.random() < 0.5, chance.random() < 0.5),
    )


def _apart(faults: list[Fault]) -> list[Fault]:
    """Drop what comes before the cluster has got over the fault before it: that may well move something."""
    kept: list[Fault] = []
    for fault in faults:
        if not kept or fault.at >= kept[-1].until + 13.0 or (fault.kind, kept[-1].kind) == (Kind.DISK_SLOW,) * 2:
            kept.append(fault)
    return kept
