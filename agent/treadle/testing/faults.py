"""Injected failures: the next executions of a node raise instead of running."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from treadle.errors import TreadleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.node import Node


class InjectedFailure(TreadleError):
    """A failure that a test asked for."""

    code = "injected"


class Faults:
    """What is still to fail, by node id; for all replicas and incarnations together."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[int | None, BaseException]] = {}

    def add(self, node: str, times: int | None, error: BaseException | None) -> None:
        """Let the next executions of a node raise; None is all of them."""
        self._left[node] = times, error or InjectedFailure(f"{node} was told to fail")

    def strike(self, node: str) -> None:
        """Raise if a node is to fail now."""
        times, error = self._left.get(node, (0, None))
        if error is None or times == 0:
            return
        self._left[node] = None if times is None else times - 1, error
        raise error.with_traceback(None)

    def plant(self, nodes: Mapping[str, Node[Any]]) -> None:
        """Stand before the executions of nodes."""
        for name, node in nodes.items():
            node.execute = self._guarded(name, node.execute)

    def _guarded(self, name: str, execute: Any) -> Any:
        if inspect.iscoroutinefunction(execute):

            @functools.wraps(execute)
            async def awaited(*data: Any) -> Any:
                self.strike(name)
                return await execute(*data)

            return awaited

        @functools.wraps(execute)
        def called(*data: Any) -> Any:
            self.strike(name)
            return execute(*data)

        return called
