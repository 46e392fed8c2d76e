"""What the supervisor knows of one loop: what is wanted, what runs, and how it went. Plain data."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from treadle.workflow.plan import Plan
from treadle_agent.frames import Address, Figures, Incident, QueueUse, Why
from treadle_agent.supervisor.blame import Alone
from treadle_agent.supervisor.past import Past


class Desired(StrEnum):
    """What the controller wants a loop to be."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class State(StrEnum):
    """What a loop is (semantics.md section 5); the values that an agent can know."""

    ASSIGNED = "ASSIGNED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DRAINING = "DRAINING"
    BACKOFF = "BACKOFF"
    STOPPED = "STOPPED"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An assignment, its plan read."""

    address: Address
    epoch: int
    sequence: int
    revision: int
    desired: Desired
    generation: int
    plan: Plan
    plan_json: bytes
    queues: tuple[QueueUse, ...] = ()
    traceparent: str = ""  # of the controller's span, if the assignment is traced


@dataclass(slots=True)
class Run:
    """One start of a loop in a child."""

    number: int
    epoch: int
    generation: int
    requested: float = 0.0  # seconds since the epoch
    incarnation: int = 0
    began: float | None = None  # seconds since the epoch, of its first execution
    draining: bool = False
    paused: bool = False
    alone: bool = False  # in a process of its own although its pool is another


@dataclass(frozen=True, slots=True)
class Settled:
    """A loop that will not run again at this epoch and generation: completed, in error or lost."""

    epoch: int
    generation: int
    state: State


@dataclass(slots=True)
class Record:
    """One loop. `wanted` is None once it is released; then it goes as soon as nothing of it runs."""

    address: Address
    wanted: Wanted | None = None
    run: Run | None = None
    settled: Settled | None = None
    retry_at: float = 0.0  # monotonic; in BACKOFF until then
    waits: bool = False  # in BACKOFF
    why: Why | None = None
    failures: tuple[float, ...] = ()  # those that count, monotonic
    outages: int = 0  # times that Redis did not answer, in a row
    restarts: int = 0
    released: bool = False
    last_epoch: int = 0
    last_sequence: int = 0
    figures: Figures | None = None
    committed: int = 0  # since the loop's record in Redis began; untouched iterations of earlier incarnations apart
    process_id: int = 0
    past: Past = field(default_factory=Past)
    since: float = field(default_factory=time.time)  # counts what is counted here, since the epoch
    incidents: list[Incident] = field(default_factory=list)  # of earlier incarnations, and ends of processes
    incarnation: int = 0
    alone: Alone | None = None  # why it must not run among others
    alone_at: tuple[float, ...] = ()  # when it was isolated, monotonic
    kills: tuple[float, ...] = ()  # ends of its process that nobody is charged for, monotonic
    known: bool = False  # how its last run ended was seen here
    hang: Why | None = None  # what it has been inside for long
    retry_time: float = 0.0  # `retry_at` in seconds since the epoch
    moved: float = 0.0  # when it was last seen to have committed, since the epoch
    marks: list[tuple[float, int]] = field(default_factory=list)  # (time, committed), for the rate
