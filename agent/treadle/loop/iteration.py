"""The iteration under way: what it pushed, popped and changed so far. All of it commits together, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.errors import IterationTooLarge

if TYPE_CHECKING:
    from treadle.data import NodeData
    from treadle.headers import MessageHeaders
    from treadle.loop.state import NodeState

MESSAGES_LIMIT: Final = 10_000
BYTES_LIMIT: Final = 8 * 1024 * 1024


class Iteration:
    """One object for a loop's whole life, emptied after each iteration: the hot path makes none.

    `touched`: there is something to commit; `beyond_pushes`: something else than messages. `message`: what a
    queue-fed iteration works on. `executed` counts the executions of each step once a list has opened; before
    that no step can run twice. `acting` is the step whose own part has been begun, -1 for none.
    """

    __slots__ = (
        "_mark",
        "_pushed_bytes",
        "_untouched_origin",
        "acting",
        "at",
        "began",
        "beyond_pushes",
        "changed",
        "counted",
        "effects",
        "executed",
        "given",
        "message",
        "pushes",
        "reads",
        "since",
        "source",
        "touched",
    )

    def __init__(self, origin: str, counted: int) -> None:
        self._untouched_origin = origin  # <namespace>/<workflow>/<loop>/<replica>/<life>
        self.counted = counted  # iterations of this life before this one, those without a commit apart
        self.at = 0  # the step under way, known when something was raised
        self.given: NodeData | None = None  # its input, in the fast path
        self.message: MessageHeaders | None = None
        self.source: tuple[str, int, Any] | None = None  # queue, number and item of that message, once it has failed
        self.executed: dict[int, int] | None = None
        self.pushes: list[tuple[str, bytes]] = []
        self.reads: list[tuple[str, int, int]] = []
        self.changed: list[NodeState] = []
        self.effects = False
        self.touched = False
        self.beyond_pushes = False
        self._pushed_bytes = 0
        self.acting = -1
        self._mark = (0, 0, 0, 0)
        # Nanoseconds, known when something was raised: when the iteration began, and the step under way. 0: not known.
        self.began = self.since = 0

    @property
    def origin(self) -> str:
        """What this iteration is about, the same over every repetition."""
        if self.message is not None:
            return self.message.origin
        return self.commit_id

    @property
    def holds_message(self) -> bool:
        """Whether it began with a message of a queue, readable or not."""
        return self.message is not None or self.source is not None

    @property
    def commit_id(self) -> str:
        """Names the commit of this iteration, which no other has."""
        return f"{self._untouched_origin}.{self.counted}"

    def effect_id(self, step: int, node: str) -> str:
        """Give out the id of an effect outside; it makes the iteration count, so that the next gets another."""
        self.effects = self.touched = self.beyond_pushes = True
        nth = 1 if self.executed is None else self.executed.get(step, 1)
        return f"{self.origin}#{node}#{nth}"

    def push(self, queue: str, item: bytes) -> None:
        """Add a message. Raises IterationTooLarge."""
        self.touched = True
        pushes = self.pushes
        size = self._pushed_bytes + len(item)
        if len(pushes) >= MESSAGES_LIMIT or size > BYTES_LIMIT:
            message = f"one iteration may push {MESSAGES_LIMIT} messages and {BYTES_LIMIT} bytes"
            raise IterationTooLarge(message, queue=queue, messages=len(pushes) + 1, bytes=size)
        self._pushed_bytes = size
        pushes.append((queue, item))

    def read(self, queue: str, number: int) -> None:
        """Add a message that was popped: it is acknowledged with the iteration."""
        self.touched = self.beyond_pushes = True
        self.reads.append((queue, number, number))

    def change(self, state: NodeState) -> None:
        """Note that a node changed its state."""
        self.touched = self.beyond_pushes = True
        self.changed.append(state)

    def begin(self, at: int, leased: int) -> None:
        """Note where the part of a step begins; `leased`: messages that were popped before it."""
        self.acting = at
        self._mark = (len(self.pushes), self._pushed_bytes, len(self.reads), leased)

    def undo(self, at: int, state: Any) -> int | None:
        """Forget what the last execution of a step did. Returns how many of the popped messages were there before.

        `state` is the node's. None: it popped nothing. Effect ids stay given out: the next attempt gets the same.
        """
        kept = None
        if self.acting == at:
            pushes, self._pushed_bytes, reads, kept = self._mark
            del self.pushes[pushes:], self.reads[reads:]
        self.acting = -1
        if any(each is state for each in self.changed) and not state.undo():
            self.changed = [each for each in self.changed if each is not state]
        self.beyond_pushes = bool(self.reads or self.changed or self.effects)
        self.touched = bool(self.pushes) or self.beyond_pushes
        return kept

    def changes(self) -> dict[tuple[str, str], bytes | None] | None:
        """Return the state changes to commit."""
        if not self.changed:
            return None
        changes: dict[tuple[str, str], bytes | None] = {}
        for state in self.changed:
            changes.update(state.changes())
        return changes

    def pushed(self) -> None:
        """Begin the next iteration on top of this one, which did nothing but push."""
        self.counted += 1
        self.pushes = []
        self._pushed_bytes = 0
        self.touched = False
        self.acting = -1

    def keep(self) -> None:
        """Begin the next iteration on top of this one."""
        for state in self.changed:
            state.keep()
        self.counted += 1
        self._clear()

    def drop(self) -> None:
        """Forget all that this iteration did; what it popped is its caller's to give back."""
        for state in self.changed:
            state.drop()
        self._clear()

    def _clear(self) -> None:
        # New lists: the commit pipeline keeps those that it was given.
        if self.pushes:
            self.pushes = []
            self._pushed_bytes = 0
        if self.reads:
            self.reads = []
        if self.changed:
            self.changed = []
        self.acting = -1
        self.effects = self.touched = self.beyond_pushes = False
