"""One step of a plan, ready to be executed: what to call, how to take its input, where it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from treadle.data import EndIteration, NodeData
from treadle.headers import HANDLE, MessageHeaders, passed_on
from treadle.loop.output import END, read_output
from treadle.queues.codec import bare, encode_item
from treadle.queues.manager import queue_empty

if TYPE_CHECKING:
    from treadle.loop.doings import Doings
    from treadle.loop.iteration import Iteration
    from treadle.loop.stats import NodeStats
    from treadle.node import Node
    from treadle.queues.manager import QueueManager
    from treadle.workflow import plan

Call = "Callable[..., Any]"


class Step:
    """`call` takes the input (a producer's takes nothing) and returns an output; with `awaits`, an awaitable."""

    __slots__ = ("at", "awaits", "call", "durations", "emit", "handles", "node", "node_id", "pushes", "stats", "uses")

    def __init__(
        self, at: int, node_id: str, node: Node[Any] | None, stats: NodeStats, handles: set[str | None]
    ) -> None:
        self.at = at
        self.node_id = node_id
        self.node = node
        self.stats = stats
        self.durations = stats.durations
        self.handles = handles
        self.call: Callable[..., Any] = _nothing
        self.awaits = False
        self.pushes: str | None = None  # the queue of a queue step
        self.uses: str | None = None
        # Sends an output to the tail queue; what came from finish() or on_tick() goes there too.
        self.emit: Callable[[Any, Mapping[str, Any] | None], Any] | None = None


def _nothing(*_: Any) -> None:
    return None


Sends = Callable[[str, Mapping[str, Any] | None], dict[str, Any] | None]  # queue, headers -> the headers to go with


def pusher(step: plan.Step, iteration: Iteration, sends: Sends | None = None) -> Callable[[NodeData], NodeData]:
    """Return the call of a queue step: it pushes its input and passes it on. `sends` adds to the headers."""
    queue = step.queue or ""
    push = iteration.push

    def call(data: NodeData) -> NodeData:
        push(queue, message_of(data))
        return data

    def call_recorded(data: NodeData) -> NodeData:
        carried = passed_on(data.headers)
        push(queue, encode_item(data.payload, carried if sends is None else sends(queue, carried)))
        return data

    return call if sends is None else call_recorded


def message_of(data: NodeData) -> bytes:
    """Encode data as the message that a queue step pushes. Raises NotEncodable and MessageTooLarge."""
    headers = data.headers
    # Most messages carry no headers: not even a call is spent on them.
    bare_of_any = headers is None or (type(headers) is MessageHeaders and headers.carried is None)
    return encode_item(data.payload, None if bare_of_any else passed_on(headers))


def tail_emitter(
    queue: str, doings: Doings, sends: Sends | None = None
) -> Callable[[Any, Mapping[str, Any] | None], Any]:
    """Return what sends a non-blocking node's output to its tail: one message per item, in order, with its handle."""

    def emit(output: Any, headers: Mapping[str, Any] | None) -> Any:
        for sent in read_output(output, headers):
            if sent is END:
                return EndIteration()
            handle, data = sent  # type: ignore[misc]
            carried = passed_on(data.headers)
            if handle is not None:
                carried = {**(carried or {}), HANDLE: handle}
            if sends is not None:
                carried = sends(queue, carried)
            doings.push(queue, encode_item(data.payload, carried))
        return None

    return emit


def emitting(call: Callable[..., Any], emit: Callable[..., Any], *, awaits: bool) -> Callable[[NodeData], Any]:
    """Return the call of a non-blocking node with a tail."""

    def emit_called(data: NodeData) -> Any:
        return emit(call(data), data.headers)

    async def emit_awaited(data: NodeData) -> Any:
        return emit(await call(data), data.headers)

    return emit_awaited if awaits else emit_called


def reader(step: plan.Step, manager: QueueManager, *, awaits: bool) -> Callable[[NodeData], Any]:
    """Return the call of a queue-reader in the middle: it hands on its input beside the message."""
    queue, timeout_s = step.queue or "", step.timeout_s

    def joined(data: NodeData, message: NodeData | None) -> NodeData | None:
        if message is None and step.on_empty != "pass":
            if step.on_empty == "error":
                raise queue_empty(queue, timeout_s)
            return None
        return NodeData({"input": data.payload, "message": None if message is None else bare(message)}, data.headers)

    def read_called(data: NodeData) -> NodeData | None:
        return joined(data, manager.pop(queue, timeout_s))

    async def read_awaited(data: NodeData) -> NodeData | None:
        return joined(data, await manager.pop(queue, timeout_s))

    return read_awaited if awaits else read_called
