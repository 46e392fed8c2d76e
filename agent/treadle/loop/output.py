"""What a node returned, read: where it goes, or why it can't."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from treadle.data import EndIteration, Idle, LoopComplete, NodeData, Route
from treadle.errors import BadOutput


class _End:
    """Stands in a list of outputs for EndIteration."""


END: Final = _End()

# One output on its way: the handle of its Route, or None for "all edges but those of errors".
Sent = tuple[str | None, NodeData]


def is_signal(output: Any, signal: type) -> bool:
    """Tell whether a node returned a signal; the class itself will do."""
    return output is signal or isinstance(output, signal)


def read_output(output: Any, headers: Mapping[str, Any] | None) -> list[Sent | _End]:
    """Return what is sent on, in order; data without headers of its own gets those of its input.

    Raises BadOutput.
    """
    if output is None:
        return []
    if isinstance(output, list | tuple):
        return [_read_one(item, headers) for item in output if item is not None]
    return [_read_one(output, headers)]


def _read_one(output: Any, headers: Mapping[str, Any] | None) -> Sent | _End:
    if isinstance(output, NodeData):
        return None, output
    if isinstance(output, Mapping):
        return None, NodeData(output, headers)
    if isinstance(output, Route):
        return output.handle, _routed(output, headers)
    if is_signal(output, EndIteration):
        return END
    raise BadOutput(_why(output), type=type(output).__name__)


def _routed(route: Route, headers: Mapping[str, Any] | None) -> NodeData:
    if isinstance(route.data, NodeData):
        return route.data
    if isinstance(route.data, Mapping):
        return NodeData(route.data, headers)
    message = f"Route({route.handle!r}) carries a {type(route.data).__name__}, not a mapping"
    raise BadOutput(message, type=type(route.data).__name__)


def _why(output: Any) -> str:
    if inspect.iscoroutine(output):
        output.close()
        return "returned a coroutine: write `async def`"
    if is_signal(output, LoopComplete) or is_signal(output, Idle):
        return f"returned {output!r}, which is for producers, and not inside a list"
    return f"returned a {type(output).__name__}: return NodeData, a mapping, Route, None, or a list of these"
