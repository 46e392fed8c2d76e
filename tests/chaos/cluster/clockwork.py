"""Time and processes that are simulated: many event loops, one clock, one thread, the same order each time.

A `Process` is an event loop as asyncio code sees it. The clockwork runs the callbacks of all processes in the order
of their times, and moves the clock to the next one when nothing is left to do now. A process can be killed: nothing
of it runs any more, no `finally` either, as with SIGKILL. It can be frozen: what falls due waits until it thaws.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

_DESTROYED: Final = "Task was destroyed but it is pending!"


class Call:
    """A callback that is due at some time; what asyncio calls a handle."""

    __slots__ = ("_cancelled", "_when", "args", "callback", "context", "process")

    def __init__(
        self,
        process: Process,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        when: float,
    ) -> None:
        self.process = process
        self.callback = callback
        self.args = args
        self.context = context
        self._when = when
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when


class Clockwork:
    """All processes and the clock. `problems` are exceptions that nobody caught."""

    def __init__(self) -> None:
        self.now = 0.0
        self.problems: list[str] = []
        self._ready: deque[Call] = deque()
        self._later: list[tuple[float, int, Call]] = []
        self._number = 0
        self._stopped = False

    def soon(self, call: Call) -> None:
        self._ready.append(call)

    def later(self, call: Call) -> None:
        self._number += 1
        heapq.heappush(self._later, (call.when(), self._number, call))

    def stop(self) -> None:
        """Have `run` return after this callback."""
        self._stopped = True

    def run(self, until: float) -> None:
        """Run what is due until a time, or until stopped."""
        self._stopped = False
        before = events._get_running_loop()
        try:
            while not self._stopped and self._advance(until):
                self._run_one(self._ready.popleft())
        finally:
            events._set_running_loop(before)
        if not self._stopped:
            self.now = until

    def _advance(self, until: float) -> bool:
        """Move the clock to the next call, unless one is ready; false when none comes in time."""
        while not self._ready:
            if not self._later or self._later[0][0] > until:
                return False
            when, _, call = heapq.heappop(self._later)
            if not call.cancelled() and call.process.alive:
                self.now = max(self.now, when)
                self._ready.append(call)
        return True

    def _run_one(self, call: Call) -> None:
        process = call.process
        if call.cancelled() or not process.alive:
            return
        if process.frozen:
            process.parked.append(call)
            return
        events._set_running_loop(process._as_loop)
        try:
            if call.context is None:
                call.callback(*call.args)
            else:
                call.context.run(call.callback, *call.args)
        except Exception as exc:
            self.problems.append(f"{process.name}: {type(exc).__name__}: {exc}")
            raise


class Process:
    """One simulated process, which is the event loop of its code: as much of one as asyncio's own parts ask for."""

    def __init__(self, clockwork: Clockwork, name: str) -> None:
        self._as_loop: Any = self
        self.name = name
        self.alive = True
        self.frozen = False
        self.parked: list[Call] = []
        self._clockwork = clockwork

    def kill(self) -> None:
        self.alive = False
        self.parked.clear()

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        parked, self.parked = self.parked, []
        for call in parked:
            self._clockwork.soon(call)

    # What asyncio asks of an event loop.

    def time(self) -> float:
        return self._clockwork.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Call:
        call = Call(self, callback, args, context, self._clockwork.now)
        self._clockwork.soon(call)
        return call

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        return self.call_at(self._clockwork.now + max(0.0, delay), callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Call:
        call = Call(self, callback, args, context, when)
        self._clockwork.later(call)
        return call

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._as_loop)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self._as_loop, name=name, context=context)

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run it here and now: what takes how long is up to the simulation."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 - it belongs to whoever awaits it
            future.set_exception(exc)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.alive and context["message"] != _DESTROYED:
            self._clockwork.problems.append(f"{self.name}: {context['message']}: {context.get('exception')!r}")

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine; what it raises is a problem."""
        task = self.create_task(coro, name=name)
        task.add_done_callback(self._look_at)
        return task

    def _look_at(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._clockwork.problems.append(f"{self.name}: {task.get_name()}: {type(exc).__name__}: {exc}")
