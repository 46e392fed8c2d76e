"""What is stored, as plain records beside those of the cluster."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import Compiled, Queue


class WorkflowRecord(msgspec.Struct, frozen=True):
    """A workflow; times are seconds since the epoch."""

    name: str
    revision: int
    digest: str
    created: float
    updated: float
    deleting: bool = False
    with_queues: bool = False
    state: int = 20  # of the newest revision's rollout, a cluster.rollout.RolloutState
    why_code: str = ""
    why: str = ""
    healthy: int = 0  # the last revision that was healthy, 0 if none was
    returned_from: int = 0  # the revision that did not become healthy, when the newest is the return from it


class RevisionRecord(msgspec.Struct, frozen=True):
    """One immutable revision."""

    workflow: str
    number: int
    digest: str
    document: bytes
    compiled: Compiled
    actor: str
    created: float
    state: int = 20
    why_code: str = ""
    why: str = ""


class AgentRecord(msgspec.Struct, frozen=True):
    """An agent as it was last seen."""

    name: str
    version: str
    labels: Mapping[str, str]
    slots: Mapping[str, int]
    uses: tuple[str, ...]
    cordoned: bool
    seen: float
    drain_until: float = 0.0  # wall clock; 0: it is not drained


class QueueRecord(msgspec.Struct, frozen=True):
    """One queue as one workflow names it, or named it."""

    workflow: str
    queue: Queue
    mentioned: bool = True


class ConsumerRecord(msgspec.Struct, frozen=True):
    """A program outside that has a reader slot of a queue, and the last epoch that it was given."""

    queue: str
    name: str
    epoch: int
    created: float
    seen: float = 0.0  # when its last stream ended; 0 while one is open, and when that is not known

    @property
    def key(self) -> LoopKey:
        """Its slot. No workflow's name begins with a tilde."""
        return LoopKey(f"~{self.queue}", self.name)


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """A change of state with its cause."""

    sequence: int
    time: float
    kind: str
    name: str
    namespace: str
    workflow: str
    code: str
    message: str
    actor: str


class AnswerRecord(msgspec.Struct, frozen=True):
    """An answer already given to a request id."""

    request_id: str
    method: str
    fingerprint: str
    answer: bytes
    created: float


class TokenRecord(msgspec.Struct, frozen=True):
    """A token by its hash: an agent's, good for one enrolment, or a client's with a role in a namespace."""

    digest: str
    kind: str
    name: str
    role: str
    namespace: str
    created: float
    expires: float
    used: float = 0.0  # when, if it was


class RevocationRecord(msgspec.Struct, frozen=True):
    """Whatever this agent or client was given up to a moment does not count any more."""

    kind: str
    name: str
    until: float
