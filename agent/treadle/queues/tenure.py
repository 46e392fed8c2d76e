"""One incarnation of a loop, as the queues see it. CONTRACT between treadle.loop and treadle.queues.

A **tenure** is a loop's fenced hold on its queues and state under one (epoch, inc). The LoopManager takes
batches from it and appends iterations to it; behind it the commit pipeline groups iterations into atomic
commits, in order. Nothing in this interface waits but `wait` and `wait_async`, which are level-triggered:
after every wake the LoopManager looks at everything again.

    batch = tenure.poll("orders")            # None: nothing is here yet (asks for more by itself)
    tenure.append(reads, pushes, state)      # one finished iteration; commits in order, many at once
    if tenure.in_flight >= limit: tenure.wait(None)
    if tenure.lost: raise tenure.lost

Threads: a tenure belongs to the thread (or task) of its LoopManager, only `wake` may be called from any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from treadle.errors import TenureLost
    from treadle.workflow.plan import QueueLimits


class LoopKey(NamedTuple):
    """Names one replica of one loop inside a namespace."""

    workflow: str
    loop: str
    replica: int = 0

    def __str__(self) -> str:
        return f"{self.workflow}/{self.loop}/{self.replica}"

    @classmethod
    def parse(cls, text: str) -> LoopKey:
        """Return the key that a text stands for."""
        workflow, loop, replica = text.split("/")
        return cls(workflow, loop, int(replica))


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What may have ended the incarnation before, and what becomes of a message that goes on doing so (guard.py)."""

    careful: bool = (
        False  # nobody knows how it ended: if that was not in order, suspect all that may have been under way
    )
    suspect: tuple[str, int] | None = None  # queue and number of the message it was on
    max_deliveries: int = 3
    node: str = ""  # for the dead letter
    revision: str = ""


@dataclass(frozen=True, slots=True)
class TenureSpec:
    """What a loop needs of the queues."""

    key: LoopKey
    epoch: int
    reads: tuple[str, ...] = ()  # queues that it pops from
    writes: Mapping[str, QueueLimits] = field(default_factory=dict)  # queues that it pushes to
    stateful: tuple[str, ...] = ()  # nodes whose state is loaded
    never_ends: tuple[str, ...] = ()  # queues read here that don't end by completion (external, on a cycle)
    max_in_flight: int = 4096
    max_in_flight_bytes: int = 4 * 1024 * 1024
    suspicion: Suspicion = Suspicion()


class BadItem(NamedTuple):
    """An item that can't be decoded; it becomes a dead letter with this reason."""

    reason: str
    raw: bytes


class Batch(NamedTuple):
    """Messages of one queue in order; the i-th has the number `first + i`.

    An item is `[payload, headers | None]` as decoded, or a BadItem. Message id: `<namespace>/<queue>/<number>`.
    """

    queue: str
    first: int
    items: Sequence[Any]


class DeadLetter(NamedTuple):
    """Moves one message that the iteration popped to its queue's dead letters, with the reason."""

    queue: str
    number: int
    item: bytes  # as it was encoded
    reason: Mapping[str, Any]  # error, traceback, node, attempts, revision, iteration


class Lane(Protocol):
    """The shortest way to append plain iterations, for who looks at the room himself: `put` as many as there is room
    for, `ask` after each unless `asked`, and `count` them in the end.
    """

    @property
    def asked(self) -> bool:
        """Whether somebody will look at what is put."""
        ...

    @property
    def put(self) -> Callable[[Any], None]:
        """Appends one in the form that `treadle.queues.plain` describes."""
        ...

    def ask(self) -> None:
        """Have somebody look at what was put."""

    def room(self) -> int:
        """Return how many iterations may be put at once."""
        ...

    def bytes_left(self) -> int:
        """Return how many bytes they may push; the last one may exceed it."""
        ...

    def count(self, iterations: int, size: int) -> None:
        """Take note of what was put, and of the bytes that it pushes."""


class Tenure(Protocol):
    """See the module. Made by `QueueHost.open`."""

    namespace: str
    key: LoopKey
    epoch: int
    inc: int
    life: str  # random id made with the loop's record and by --fresh
    iteration: int  # iterations that this life has committed in Redis before this tenure opened
    completed: bool  # the loop had completed before
    state: dict[str, dict[str, bytes]]  # node -> key -> encoded value, as loaded at open
    lost: TenureLost | None  # set once, and for ever: drop everything and stop

    @property
    def in_flight(self) -> int:
        """Iterations appended and not yet committed."""
        ...

    @property
    def appended(self) -> int:
        """How many iterations have been appended."""
        ...

    def when_committed(self, call: Callable[[int], None]) -> None:
        """Call once when all that has been appended so far is committed, with the nanoseconds since the epoch.

        In any thread, at once if it is committed already; never when the tenure is lost before.
        """

    @property
    def has_room(self) -> bool:
        """Whether another iteration may start: max_in_flight, its bytes, and bounded queues all have room."""
        ...

    @property
    def blocked(self) -> bool:
        """Whether what is in flight waits for room in a full queue."""
        ...

    def poll(self, queue: str) -> Batch | None:
        """Take the next batch of a queue if one is here, else None (and see to it that more comes)."""

    def give_back(self, batch: Batch) -> None:
        """Return the unprocessed rest of a batch to the front (a failed attempt; it is polled again)."""

    def ended(self, queue: str) -> bool:
        """Whether a queue has no open writer, no message and nothing claimed (known after poll gave None)."""
        ...

    def append(
        self,
        reads: Sequence[tuple[str, int, int]],
        pushes: Sequence[tuple[str, bytes]],
        state: Mapping[tuple[str, str], bytes | None] | None = None,
        *,
        effects: bool = False,
        dead: Sequence[DeadLetter] = (),
        completes: bool = False,
    ) -> None:
        """Append one finished iteration.

        `reads` are ranges `(queue, first, last)` that it consumed, `pushes` are `(queue, encoded item)` in
        order, `state` maps (node, key) to the encoded value or None (deleted). `effects`: gave out an effect
        id, so it counts even when empty. `completes`: the last commit, which closes the loop as a writer.
        An empty iteration is committed without Redis (and is not counted).
        """

    def plain(self, reads: str | None, pushes: str | None) -> Callable[[int, bytes | None], bool]:
        """Return a short form of `append`, for iterations that read one message, push one, or both, and no more.

        The function takes the number of the message that was read from `reads` (0: none) and the encoded item for
        `pushes` (None: none), one of them at least, and returns `has_room`. To be asked for once.
        """
        ...

    @property
    def lane(self) -> Lane:
        """Return the way for many of them, once `plain` was asked for."""
        ...

    @property
    def committed(self) -> int:
        """Iterations that this tenure has committed in Redis."""
        ...

    def wait(self, timeout_s: float | None) -> None:
        """Block the calling thread until something changed, `wake` was called, or the time is over."""

    def wait_async(self, timeout_s: float | None) -> Coroutine[Any, Any, None]:
        """The same for a LoopManager that runs as a task."""
        ...

    def wake(self) -> None:
        """Make the current or next wait return at once. May be called from any thread."""


class QueueHost(Protocol):
    """What one pool host shares between its loops: the way to the queues of one namespace."""

    namespace: str

    async def open(self, spec: TenureSpec) -> Tenure:
        """Incarnate a loop under its epoch and load its state. Raises TenureLost when the epoch is stale."""
        ...

    async def close(self, tenure: Tenure) -> None:
        """Let go of a loop; what it had not committed is forgotten."""

    async def stop(self) -> None:
        """Close the connections; every tenure is lost."""


def describe(key: LoopKey) -> dict[str, Any]:
    """Return the fields of a key for logs and events."""
    return {"workflow": key.workflow, "loop": key.loop, "replica": key.replica}
