"""Where the code of a loop's nodes runs: the three pools' difference, in one place.

A mode says how the loop itself waits (`port`), how a node waits (`port_for`), and how a node's hook is called
(`bind`: the callable, and whether its result is to be awaited).
"""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from treadle.loop.ports import DirectPort, InlinePort, OwnLoopPort, Port, TaskPort, WorkerPort
from treadle.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from treadle.queues.tenure import Tenure

Hook = tuple["Callable[..., Any]", bool]

_HOOKS = ("execute", "open", "close", "finish", "on_tick")
# Hooks that a node's author did not write do nothing: no thread is made to call them on.
_UNWRITTEN = frozenset({Node.open, Node.close, Node.finish, Node.on_tick})


def is_async(function: Any) -> bool:
    """Tell whether a hook is written as `async def`."""
    return inspect.iscoroutinefunction(function)


def need_event_loop(nodes: Iterable[Node[Any]]) -> bool:
    """Tell whether a node has any `async def` hook."""
    return any(is_async(getattr(node, hook, None)) for node in nodes for hook in _HOOKS)


class DirectMode:
    """A thread or process whose nodes have `def` hooks only: everything is called."""

    __slots__ = ("port",)
    asynchronous = False

    def __init__(self, tenure: Tenure) -> None:
        self.port: Port = DirectPort(tenure)

    def port_for(self, node: Node[Any]) -> Port:  # noqa: ARG002 - the same for all
        """Return how a node waits."""
        return self.port

    def bind(self, node: Node[Any], hook: Callable[..., Any]) -> Hook:  # noqa: ARG002 - the same for all
        """Return the hook as it is."""
        return hook, False

    def close(self) -> None:
        """Nothing was opened."""


class OwnLoopMode:
    """A thread or process with an `async def` node: an event loop of the loop's own, which `def` nodes may block."""

    __slots__ = ("_direct", "port")
    asynchronous = True

    def __init__(self, tenure: Tenure) -> None:
        self.port: Port = OwnLoopPort(tenure)
        self._direct = DirectPort(tenure)

    def port_for(self, node: Node[Any]) -> Port:
        """Return how a node waits."""
        return self.port if is_async(getattr(node, "execute", None)) else self._direct

    def bind(self, node: Node[Any], hook: Callable[..., Any]) -> Hook:  # noqa: ARG002 - the same for all
        """Return the hook as it is."""
        return hook, is_async(hook)

    def close(self) -> None:
        """Nothing was opened."""


class TaskMode:
    """A task on the host's event loop; `def` nodes run on a worker thread of the loop's own, unless inline."""

    __slots__ = ("_loop", "_tenure", "_worker", "port")
    asynchronous = True

    def __init__(self, tenure: Tenure) -> None:
        self.port: Port = TaskPort(tenure)
        self._loop = asyncio.get_running_loop()
        self._tenure = tenure
        self._worker: ThreadPoolExecutor | None = None

    def port_for(self, node: Node[Any]) -> Port:
        """Return how a node waits."""
        if is_async(getattr(node, "execute", None)):
            return self.port
        return InlinePort() if node.inline else WorkerPort(self._tenure, self._loop)

    def bind(self, node: Node[Any], hook: Callable[..., Any]) -> Hook:
        """Return the hook, or what calls it on the worker thread."""
        if is_async(hook):
            return hook, True
        if node.inline or getattr(hook, "__func__", None) in _UNWRITTEN:
            return hook, False
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"treadle worker {self._tenure.key}")
        worker = self._worker
        run = self._loop.run_in_executor

        def on_worker(*arguments: Any) -> Any:
            # With the context of the loop: the run it belongs to, and the span it is in.
            return run(worker, partial(copy_context().run, hook, *arguments))

        return on_worker, True

    def close(self) -> None:
        """Let the worker thread go; it is idle unless the loop was cancelled in the middle of a node."""
        if self._worker is not None:
            self._worker.shutdown(wait=False)


Mode = DirectMode | OwnLoopMode | TaskMode
