"""The words of the cluster: loops, their replicas, and what is wanted, assigned and observed of them."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from treadle.workflow.plan import Plan


class Desired(IntEnum):
    """What somebody wants a loop to be. The numbers are those of the wire."""

    RUNNING = 10
    PAUSED = 20
    STOPPED = 30


class State(IntEnum):
    """What a loop is. The numbers are those of the wire."""

    PENDING = 10
    ASSIGNED = 20
    STARTING = 30
    RUNNING = 40
    PAUSED = 50
    DRAINING = 60
    BACKOFF = 70
    STOPPED = 80
    COMPLETED = 90
    ERROR = 100
    LOST = 110


class ReplicaId(NamedTuple):
    """Names one replica of one loop inside the namespace."""

    workflow: str
    loop: str
    replica: int

    def __str__(self) -> str:
        return f"{self.workflow}/{self.loop}/{self.replica}"


class Why(NamedTuple):
    """A stable code and a sentence for people."""

    code: str
    message: str


# There are as many of these as loops, and a large revision makes them all at once: a struct takes a tenth of the time
# of a frozen dataclass to make, and the garbage collector need not look at it.
class LoopRecord(msgspec.Struct, frozen=True, gc=False):
    """What is wanted of one loop; `revision` is the one that its plan comes from."""

    workflow: str
    revision: int
    plan: Plan
    desired: Desired = Desired.RUNNING
    restarts: int = 0  # grows with each `restart`
    fresh: int = 0  # the restart that asked to forget state first, 0 if none did
    removed: bool = False  # no longer in the document: drained, then forgotten
    entered: bool = False  # its replicas are known to Redis as writers of their queues
    scaled: int = 0  # how many replicas somebody asked for; 0: as many as the plan says
    past_committed: int = 0  # iterations of replicas that it no longer has: its total never falls
    past_errors: int = 0

    @property
    def name(self) -> str:
        return self.plan.loop

    @property
    def count(self) -> int:
        """How many replicas it should have."""
        return self.scaled or self.plan.replicas

    @property
    def replicas(self) -> tuple[ReplicaId, ...]:
        count = self.count
        if count == 1:  # as nearly all have: this is asked for again and again
            return (ReplicaId(self.workflow, self.plan.loop, 0),)
        return tuple(ReplicaId(self.workflow, self.plan.loop, index) for index in range(count))


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """Who holds a replica, or held it last. A row exists from the first placement on."""

    id: ReplicaId
    agent: str = ""
    held: bool = False  # false: nobody runs it
    epoch: int = 0
    sequence: int = 0  # grows with each change to this assignment
    revision: int = 0
    digest: str = ""
    desired: Desired = Desired.RUNNING
    restarts: int = 0
    releasing: bool = False  # being drained; freed when the agent says so
    completed: bool = False
    committed: int = 0  # as last known when it was freed
    errors: int = 0
    code: str = ""  # digest of the node code that it was started with, as its agent told it


class Observed(msgspec.Struct, frozen=True, gc=False):
    """What an agent said last of a replica; `report` is its whole message, opaque here."""

    epoch: int
    sequence: int
    state: State
    why: Why | None = None
    report: object = None
    incarnation: int = 0
    committed: int = 0
    measured: bool = False  # with figures of this very run: a first status repeats what the run before had committed
    failing: str = ""  # the node that does not work, if one does not

    def is_older_than(self, other: Observed) -> bool:
        return (self.epoch, self.sequence) < (other.epoch, other.sequence)
