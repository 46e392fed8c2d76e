"""How a step takes its input from what ran before it: one edge, or a join of several.

Outputs lie in an environment, step -> (handle of its Route or None, data); a step that was skipped is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.data import ERROR_HANDLE, NodeData
from treadle.loop.output import Sent
from treadle.queues.codec import copy

if TYPE_CHECKING:
    from treadle.loop.iteration import Iteration
    from treadle.loop.table import Edge, Inflow

Environment = dict[int, Sent]

# None: skipped. A list: several arrivals, each to be worked on by itself.
Gather = Callable[[Environment], NodeData | list[NodeData] | None]


def gatherer(inflow: Inflow, iteration: Iteration) -> Gather:
    """Return the function that takes a step's input."""
    takes = [_taker(edge, iteration) for edge in inflow.edges]
    if len(takes) == 1:
        return takes[0]
    if inflow.join == "all":
        return _all_of(takes, [edge.key for edge in inflow.edges])
    return _first_of(takes) if inflow.join == "any" else _each_of(takes)


def _taker(edge: Edge, iteration: Iteration) -> Callable[[Environment], NodeData | None]:
    source, wanted = edge.source, edge.handle
    takes_plain = wanted != ERROR_HANDLE
    last_plain, last_routed = edge.last_plain, edge.last_routed

    def take(outputs: Environment) -> NodeData | None:
        sent = outputs.get(source)
        if sent is None:
            return None
        handle, data = sent
        if handle is None:
            if not takes_plain:
                return None
            if last_plain:
                return data
        elif handle != wanted:
            return None
        elif last_routed:
            return data
        iteration.at = source  # it is the source's output that may turn out not to be encodable
        return copy(data)

    return take


def _all_of(takes: list[Callable[[Environment], NodeData | None]], keys: list[str]) -> Gather:
    def gather(outputs: Environment) -> NodeData | None:
        live = [(key, data) for key, take in zip(keys, takes, strict=True) if (data := take(outputs)) is not None]
        if not live:
            return None
        if len(live) == 1:
            return live[0][1]
        return NodeData({key: data.payload for key, data in live}, live[0][1].headers)

    return gather


def _first_of(takes: list[Callable[[Environment], NodeData | None]]) -> Gather:
    def gather(outputs: Environment) -> NodeData | None:
        return next((data for take in takes if (data := take(outputs)) is not None), None)

    return gather


def _each_of(takes: list[Callable[[Environment], NodeData | None]]) -> Gather:
    def gather(outputs: Environment) -> NodeData | list[NodeData] | None:
        arrivals = [data for take in takes if (data := take(outputs)) is not None]
        return arrivals if len(arrivals) > 1 else arrivals[0] if arrivals else None

    return gather
