"""The QueueManager, as a node sees it: `push` and `pop`, the only way to other loops.

In an `async def` node `pop` is awaited; `push` waits for nothing, and may be awaited for symmetry.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from treadle.data import NodeData
from treadle.errors import BadMessage, BadOutput, LoopStopping, QueueEmpty, UndeclaredQueue
from treadle.headers import MessageHeaders, passed_on
from treadle.queues.codec import bare, encode_item
from treadle.queues.tenure import BadItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from treadle.clock import Clock


class Transaction(Protocol):
    """The iteration under way."""

    def push(self, queue: str, item: bytes) -> None:
        """Add a message to the commit."""

    def read(self, queue: str, number: int) -> None:
        """Add an acknowledgement to the commit."""


class Leasing(Protocol):
    """Where messages are popped from."""

    def take(self, queue: str) -> tuple[int, Any] | None:
        """Lease the next message of a queue if one is here."""
        ...

    def ended(self, queue: str) -> bool:
        """Tell whether no message will ever come."""
        ...


class Waiting(Protocol):
    """How the node of this QueueManager waits."""

    def wait(self, timeout_s: float | None) -> Awaitable[None]:
        """Wait until something changed."""
        ...

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Give the node a result, or what it is to await."""


class Stopping(Protocol):
    """Whether the loop is being drained or stopped."""

    @property
    def ending(self) -> bool:
        """Nothing may wait for more work."""
        ...


class Recorder(Protocol):
    """Records what an iteration that is traced sends and receives."""

    def sends(self, queue: str, headers: Mapping[str, Any] | None) -> dict[str, Any]:
        """Note a push; returns the headers with which the message goes."""
        ...

    def received(self, queue: str, message_id: str, carried: Mapping[str, Any] | None) -> None:
        """Note that a message was popped."""


class _Done:
    """What `push` returns: nothing to wait for, also under `await`."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()


_names = lru_cache(256)(frozenset[str])  # most nodes name no queue, or the same as others


class QueueManager:
    """Pushes to and pops from the queues that a node's `queues` name."""

    __slots__ = (
        "_clock",
        "_leases",
        "_namespace",
        "_pop_queues",
        "_push_queues",
        "_stopping",
        "_transaction",
        "_waiting",
        "recording",
    )

    def __init__(
        self,
        *,
        namespace: str,
        push_queues: tuple[str, ...],
        pop_queues: tuple[str, ...],
        transaction: Transaction,
        leases: Leasing,
        waiting: Waiting,
        stopping: Stopping,
        clock: Clock,
    ) -> None:
        self._namespace = namespace
        self._push_queues = _names(push_queues)
        self._pop_queues = _names(pop_queues)
        self._transaction = transaction
        self._leases = leases
        self._waiting = waiting
        self._stopping = stopping
        self._clock = clock
        self.recording: Recorder | None = None  # set as long as an iteration is traced

    def push(self, queue_name: str, data: Mapping[str, Any]) -> _Done:
        """Push a message when this iteration commits. It is encoded now, so later changes do no harm.

        Raises UndeclaredQueue, NotEncodable, MessageTooLarge, IterationTooLarge.
        """
        if queue_name not in self._push_queues:
            raise _undeclared(queue_name, "push", self._push_queues)
        if not isinstance(data, Mapping):
            message = f"a {type(data).__name__} can't be pushed: use NodeData or a mapping"
            raise BadOutput(message, queue=queue_name)
        headers = passed_on(data.headers) if isinstance(data, NodeData) else None
        if self.recording is not None:
            headers = self.recording.sends(queue_name, headers)
        self._transaction.push(queue_name, encode_item(bare(data), headers))
        return _DONE

    def pop(self, queue_name: str, timeout: float | None = None) -> Any:
        """Lease the next message until this iteration commits; None when there is none in time.

        `timeout` is in seconds: 0 looks once, None waits for ever (and returns None once the queue has ended: no
        writer is left). An `async def` node awaits the result. Raises LoopStopping when the loop is drained while
        this waits, UndeclaredQueue, ValueError for a negative timeout, BadMessage.
        """
        if queue_name not in self._pop_queues:
            raise _undeclared(queue_name, "pop", self._pop_queues)
        if timeout is not None and timeout < 0:
            message = f"a timeout can't be negative: {timeout}"
            raise ValueError(message)
        return self._waiting.finish(self._pop(queue_name, timeout))

    async def _pop(self, queue: str, timeout_s: float | None) -> NodeData | None:
        deadline = None if timeout_s is None else self._clock.monotonic() + timeout_s
        while (leased := self._leases.take(queue)) is None:
            left = None if deadline is None else deadline - self._clock.monotonic()
            if (left is not None and left <= 0) or self._leases.ended(queue):
                return None
            if self._stopping.ending:
                message = f"no message from {queue}: the loop is stopping"
                raise LoopStopping(message, queue=queue)
            await self._waiting.wait(left)
        return self._open(queue, *leased)

    def _open(self, queue: str, number: int, item: Any) -> NodeData:
        if type(item) is BadItem:
            raise bad_message(queue, number, item)
        payload, carried = item
        self._transaction.read(queue, number)
        headers = MessageHeaders(f"{self._namespace}/{queue}/", queue, number, carried)
        if self.recording is not None:
            self.recording.received(queue, headers.message_id, carried)
        return NodeData(payload, headers)


def bad_message(queue: str, number: int, item: BadItem) -> BadMessage:
    """Describe a message that can't be read."""
    message = f"message {number} of {queue} can't be read: {item.reason}"
    return BadMessage(message, queue=queue, number=number, reason=item.reason)


def queue_empty(queue: str, timeout_s: float | None) -> QueueEmpty:
    """Describe a wait that was in vain."""
    return QueueEmpty(f"no message in {queue} within {timeout_s} s", queue=queue, timeout_s=timeout_s)


def _undeclared(queue: str, verb: str, declared: frozenset[str]) -> UndeclaredQueue:
    names = ", ".join(sorted(declared)) or "none"
    message = f'{queue} is not in this node\'s "queues": {{"{verb}": [...]}}; declared: {names}'
    return UndeclaredQueue(message, queue=queue, declared=sorted(declared))
