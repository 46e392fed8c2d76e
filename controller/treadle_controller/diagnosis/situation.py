"""What a verdict on a loop is made from: facts of it, of the loops at the other ends of its queues, and of the queues.

Plain data, gathered at one moment. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from treadle_controller.cluster.model import Desired, State, Why


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node of a replica; totals of its incarnation. `seconds` are estimated from the histogram."""

    node: str
    executions: int = 0
    failures: int = 0
    seconds: float = 0.0
    failing: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a replica that runs does (LoopActivity of the wire)."""

    code: str
    node: str = ""
    queue: str = ""
    since: float = 0.0
    attempt: int = 0
    again_at: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """One replica: what it is, where, and what its agent said last."""

    index: int
    state: State
    why: Why | None = None
    node: str = ""  # in which `why` happened
    agent: str = ""  # that holds it, "" when none does
    activity: Activity | None = None
    rate: float = 0.0  # commits per second
    committed: int = 0
    restarts: int = 0
    retry_at: float = 0.0
    last_commit: float = 0.0
    nodes: tuple[NodeFacts, ...] = ()
    blocked: tuple[tuple[str, float], ...] = ()  # seconds that it waited for room, by queue


@dataclass(frozen=True, slots=True)
class Order:
    """Who wanted last that a loop pauses or stops."""

    actor: str
    time: float


@dataclass(frozen=True, slots=True)
class LoopFacts:
    """One loop, `name` as in "orders/price"."""

    name: str
    desired: Desired = Desired.RUNNING
    replicas: tuple[ReplicaFacts, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    order: Order | None = None
    removed: bool = False
    halted: str = ""  # why its whole workflow was stopped by one of its nodes, if it was
    obstacles: tuple[tuple[str, str], ...] = ()  # agents, and why each can't take it


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """One queue. A limit of None is none; `depth` counts claimed messages too."""

    name: str
    depth: int = 0
    size: int = 0  # bytes
    limit: int | None = None
    size_limit: int | None = None
    blocks: bool = True  # whoever pushes to it waits when it is full
    oldest_age_s: float | None = None
    dead: int = 0
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    external: bool = False
    away: tuple[tuple[str, float], ...] = ()  # programs outside that read it and have no stream, since when

    @property
    def full(self) -> bool:
        """Whether whoever pushes has to wait."""
        messages = self.limit is not None and self.depth >= self.limit
        return self.blocks and (messages or (self.size_limit is not None and self.size >= self.size_limit))


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that is known. `redis` says why the queues can't be reached, if so; `renewed` that they began anew."""

    now: float
    loops: Mapping[str, LoopFacts] = field(default_factory=dict)
    queues: Mapping[str, QueueFacts] = field(default_factory=dict)
    redis: str = ""
    renewed: str = ""
    memory: str = ""  # of the server of the queues, in words
