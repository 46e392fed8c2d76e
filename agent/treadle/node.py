"""What node authors derive from: ProducerNode, BlockingNode, NonBlockingNode, and their Params.

CONTRACT. The LoopManager makes the object with its checked parameters, then sets `context`, `state` and
`queue_manager` before `open()`. All hooks may be `def` or `async def`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from treadle.loop.context import NodeContext
    from treadle.queues.manager import QueueManager


class Params(BaseModel):
    """The parameters of a node (`with`): a pydantic model; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=Params)


class Orchestrator:
    """What the specification calls the orchestrator, as a node sees it."""

    __slots__ = ("queue_manager",)

    def __init__(self, queue_manager: QueueManager) -> None:
        self.queue_manager = queue_manager


class Node(Generic[P]):
    """The smallest executable unit. Derive from ProducerNode, BlockingNode or NonBlockingNode."""

    uses: ClassVar[str] = ""  # the name in a workflow document; a class without one is not offered
    stateful: ClassVar[bool] = False  # declares that the node uses `self.state`
    state_version: ClassVar[int] = 1
    tick: ClassVar[float | None] = None  # seconds: calls on_tick at most this often, also when idle
    inline: ClassVar[bool] = False  # a quick `def execute` that never blocks: called on the event loop
    role: ClassVar[str] = "node"
    params_model: ClassVar[type[Params]] = Params

    params: P
    context: NodeContext
    state: MutableMapping[str, Any]
    queue_manager: QueueManager
    orchestrator: Orchestrator
    execute: Callable[..., Any]  # the work; what it takes is for the roles below to say

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(base)
            model = arguments[0] if arguments and isinstance(get_origin(base), type) else None
            if isinstance(model, type) and issubclass(model, Params):
                cls.params_model = model

    def __init__(self, params: P) -> None:
        self.params = params

    def open(self) -> Any:
        """Acquire what the node needs; called once before the first execution."""

    def close(self) -> Any:
        """Release it; called once, also after a failure."""

    def finish(self) -> Any:
        """Return what is left over when the loop completes: it flows on as an iteration without input."""

    def on_tick(self, now: float) -> Any:
        """Return what has become due (`now`: seconds since the epoch); it flows on like finish()'s."""

    def migrate(self, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Turn the state of an older `state_version` into today's. Raises when it can't be done."""
        message = f"{type(self).__name__} can't read state of version {from_version}"
        raise NotImplementedError(message)


class ProducerNode(Node[P]):
    """Starts a loop and generates work: `execute()` takes nothing."""

    role: ClassVar[str] = "producer"

    def execute(self) -> Any:
        """Return the next piece of work, None when there is none now, LoopComplete() when there never will be."""
        raise NotImplementedError


class BlockingNode(Node[P]):
    """Work that is awaited together with the blocking nodes below it."""

    def execute(self, data: Any) -> Any:
        """Return the output for one input (a NodeData)."""
        raise NotImplementedError


class NonBlockingNode(BlockingNode[P]):
    """Work whose own execution is awaited, and nothing below it.

    The drawing decides: a class of either kind may be drawn as `blocking` or `non-blocking`.
    """
