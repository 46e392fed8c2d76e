"""Execution plans: what a LoopManager runs, compiled loop by loop from a checked workflow.

Plain data: a plan travels to agents as JSON (msgspec reads these dataclasses as they are).
Durations are seconds, sizes bytes. CONTRACT between treadle.workflow, the controller and the agents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["producer", "blocking", "non-blocking", "queue", "queue-reader"]
Pool = Literal["thread", "process", "asyncio"]
Join = Literal["all", "any", "each"]
OnEmpty = Literal["skip", "pass", "error"]
OnExhausted = Literal["fail-loop", "restart-loop", "dead-letter", "skip", "stop-workflow"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failing node is tried again (semantics.md section 4)."""

    max_attempts: int = 3
    initial_backoff_s: float = 0.2
    multiplier: float = 2.0
    max_backoff_s: float = 30.0
    jitter: Literal["full", "none"] = "full"
    max_elapsed_s: float | None = 300.0
    retry_on: tuple[str, ...] = ("*",)
    never_retry_on: tuple[str, ...] = ("ValidationError",)
    on_exhausted: OnExhausted | None = None  # None: the default of semantics.md section 4 for this place


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how a loop that failed is started again (semantics.md section 4)."""

    mode: Literal["on-failure", "always", "never"] = "on-failure"
    initial_backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    max_restarts: int = 5
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much a queue holds; None is unbounded."""

    messages: int | None = 1_000_000
    bytes: int | None = 256 * 1024 * 1024
    when_full: Literal["block", "drop-oldest"] = "block"


@dataclass(frozen=True, slots=True)
class Input:
    """One edge into a step: from which step, along which handle, and its name in a join."""

    source: int  # index of the step in Plan.steps
    handle: str | None  # the edge's sourceHandle; None takes everything but errors
    key: str  # targetHandle, else the source node's id: the key in the payload of a join


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a plan, its settings with defaults filled in."""

    node: str  # node id
    kind: Kind
    label: str = ""
    uses: str | None = None  # producer, blocking, non-blocking
    params: dict[str, Any] = field(default_factory=dict)  # `with`
    inputs: tuple[Input, ...] = ()
    join: Join = "all"
    queue: str | None = None  # queue: where it pushes; mid-chain queue-reader: what it pops
    queues: tuple[str, ...] = ()  # queue-reader as producer: all that it merges (one or more)
    push_queues: tuple[str, ...] = ()  # `queues.push`: what execute() may push to by itself
    pop_queues: tuple[str, ...] = ()  # `queues.pop`
    tail_queue: str | None = None  # non-blocking with a tail loop: its hidden queue
    timeout_s: float | None = None  # mid-chain queue-reader
    on_empty: OnEmpty = "skip"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    attempt_timeout_s: float | None = None
    max_deliveries: int = 3
    catches: bool = False  # an edge of the handle `error` leaves it, into its tail if it has one


@dataclass(frozen=True, slots=True)
class Placement:
    """Labels that an agent must have, and those that are liked."""

    labels: dict[str, str] = field(default_factory=dict)
    prefer: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of a loop process; None is no limit."""

    memory: int | None = None
    open_files: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One loop: its producer first, then the nodes below it in topological order.

    The order of `steps` is the order of execution: depth first where the drawing leaves a choice,
    siblings by edge order, then target id, then edge id.
    """

    workflow: str
    loop: str  # "<loop>" or, for a tail, "<loop>~<node>"
    steps: tuple[Step, ...]
    digest: str  # semantic digest of this loop: only what the author wrote
    pool: Pool = "thread"
    replicas: int = 1
    interval_s: float = 0.0
    max_in_flight: int = 4096
    max_in_flight_bytes: int = 4 * 1024 * 1024
    iteration_timeout_s: float | None = None
    # Nobody changes these: thousands of loops that say nothing of them share one of each.
    placement: Placement = Placement()
    restart: RestartPolicy = RestartPolicy()
    on_lost_contact_s: float | None = None  # None: keep
    resources: Resources = Resources()
    tracing: Literal["link", "parent"] = "link"  # what a traced iteration is to the span that its message comes from
    tail_of: str | None = None  # the loop whose non-blocking node feeds this one
    tails: tuple[str, ...] = ()  # tail loops that hang on this one, nested tails included in theirs only

    @property
    def reads(self) -> tuple[str, ...]:
        """The queues that this loop pops from, each once."""
        popped: list[str] = []
        for step in self.steps:
            if step.queues or step.pop_queues:
                popped += (*step.queues, *step.pop_queues)
        for step in self.steps[1:]:
            if step.kind == "queue-reader" and step.queue is not None:
                popped.append(step.queue)
        return tuple(dict.fromkeys(popped)) if popped else ()

    @property
    def writes(self) -> tuple[str, ...]:
        """The queues that this loop pushes to, tails included, each once."""
        pushed: list[str] = []
        for step in self.steps:
            if step.kind == "queue" and step.queue is not None:
                pushed.append(step.queue)
            if step.tail_queue is not None:
                pushed.append(step.tail_queue)
            pushed += step.push_queues
        return tuple(dict.fromkeys(pushed)) if pushed else ()


@dataclass(frozen=True, slots=True)
class Queue:
    """One named queue of a workflow: its limits, and who is at its ends (loop names)."""

    name: str
    limits: QueueLimits = field(default_factory=QueueLimits)
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    external: bool = False
    on_cycle: bool = False  # never ends by completion
    hidden: bool = False  # a tail queue


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole workflow, ready to be placed."""

    workflow: str
    digest: str
    plans: tuple[Plan, ...]  # by loop name; a tail right after its loop
    queues: tuple[Queue, ...]  # by name
    max_parallel: int = 1
    progress_deadline_s: float = 60.0
