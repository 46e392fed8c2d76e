"""How a node waits, which depends on where it runs. The waiting itself is written once, as coroutines.

thread or process, `def` nodes only    DirectPort   waits block the thread; coroutines never suspend
thread or process, with `async def`    OwnLoopPort  the loop's own event loop; DirectPort for its `def` nodes
asyncio, `async def`                   TaskPort     waits are awaited
asyncio, `def`                         WorkerPort   called on the worker thread, waits on the event loop
asyncio, `def` and inline              InlinePort   called on the event loop, may not wait
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

from treadle.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator

    from treadle.queues.tenure import Tenure

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    coroutine.close()
    message = "a coroutine had to wait where nothing can: no event loop runs here"
    raise ConfigError(message)


class Port(Protocol):
    """Where a node, or the loop itself, waits."""

    def wait(self, timeout_s: float | None) -> Awaitable[None]:
        """Wait until the tenure says that something changed."""
        ...

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Give a node the coroutine's result, or what it is to await."""


class _Waited:
    """A wait that is over."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_WAITED: Final = _Waited()


class DirectPort:
    """The calling thread blocks."""

    __slots__ = ("_tenure",)

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure

    def wait(self, timeout_s: float | None) -> Awaitable[None]:
        """Block. There is nothing left to await then: a coroutine would take a part of the thread's stack."""
        self._tenure.wait(timeout_s)
        return _WAITED

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the result."""
        return drive(coroutine)


class OwnLoopPort:
    """An event loop in the loop's own thread. The tenure blocks another thread, so that the nodes' tasks go on."""

    __slots__ = ("_tenure",)

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure

    async def wait(self, timeout_s: float | None) -> None:
        """Wait in a thread beside."""
        waiting = asyncio.ensure_future(asyncio.to_thread(self._tenure.wait, timeout_s))
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            # The thread would go on to wait, and take the next ring away from whoever waits then.
            self._tenure.wake()
            await waiting
            raise

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the coroutine: an `async def` node awaits it."""
        return coroutine


class TaskPort:
    """The event loop of the asyncio host."""

    __slots__ = ("_tenure",)

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure

    def wait(self, timeout_s: float | None) -> Coroutine[Any, Any, None]:
        """Await; a coroutine more between the two would stay in memory for as long as a loop is idle."""
        return self._tenure.wait_async(timeout_s)

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the coroutine: an `async def` node awaits it."""
        return coroutine


class WorkerPort(TaskPort):
    """The worker thread of a task: it blocks while the event loop, which owns the tenure, waits for it."""

    __slots__ = ("_loop",)

    def __init__(self, tenure: Tenure, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(tenure)
        self._loop = loop

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class InlinePort:
    """A `def` node on the event loop: it promised never to block."""

    __slots__ = ()

    async def wait(self, timeout_s: float | None) -> NoReturn:
        """Refuse."""
        message = f"an inline node can't wait ({timeout_s} s): write `async def execute`, or drop `inline = True`"
        raise ConfigError(message)

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the result."""
        return drive(coroutine)
