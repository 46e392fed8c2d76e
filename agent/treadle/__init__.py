"""treadle: workflows that never end. This is what node authors import.

from treadle import BlockingNode, NodeData, Params, ProducerNode

Names are loaded when they are first used: the daemons and wfctl import parts of this package and don't pay for
the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.data import EndIteration, Idle, LoopComplete, NodeData, Route
    from treadle.errors import (
        LoopStopping,
        MessageTooLarge,
        NotEncodable,
        Permanent,
        Retry,
        TreadleError,
        UndeclaredQueue,
    )
    from treadle.loop.context import NodeContext
    from treadle.node import BlockingNode, Node, NonBlockingNode, Params, ProducerNode
    from treadle.node_config import NodeConfig
    from treadle.queues.manager import QueueManager

__all__ = [
    "BlockingNode",
    "EndIteration",
    "Idle",
    "LoopComplete",
    "LoopStopping",
    "MessageTooLarge",
    "Node",
    "NodeConfig",
    "NodeContext",
    "NodeData",
    "NonBlockingNode",
    "NotEncodable",
    "Params",
    "Permanent",
    "ProducerNode",
    "QueueManager",
    "Retry",
    "Route",
    "TreadleError",
    "UndeclaredQueue",
]

_HOMES = {
    "treadle.data": ("EndIteration", "Idle", "LoopComplete", "NodeData", "Route"),
    "treadle.errors": (
        "LoopStopping",
        "MessageTooLarge",
        "NotEncodable",
        "Permanent",
        "Retry",
        "TreadleError",
        "UndeclaredQueue",
    ),
    "treadle.loop.context": ("NodeContext",),
    "treadle.node": ("BlockingNode", "Node", "NonBlockingNode", "Params", "ProducerNode"),
    "treadle.node_config": ("NodeConfig",),
    "treadle.queues.manager": ("QueueManager",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        message = f"module 'treadle' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(home), name)
    value.__module__ = __name__  # tracebacks and documentation say where users import it from
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
