"""`attempt_timeout` and `iteration_timeout`. Made only for plans that set one: all others pay nothing.

An `async def` node is cancelled by one timer per loop, which is set again when it goes off too early, and not for
every node. A `def` node can't be ended from here: the deadline is there for whoever watches the host.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.errors import AttemptTimeout, IterationTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.clock import Clock
    from treadle.loop.step import Step


class Deadline(NamedTuple):
    """When the execution under way is to be over, by the loop's monotonic clock."""

    at: float
    node: str
    attempt: int
    cancels: bool  # the loop cancels it by itself: an `async def` node, unless it blocks


class Deadlines:
    """The deadlines of one life of a loop. Make it where the loop runs: in its task, if it is one."""

    def __init__(self, clock: Clock, iteration_timeout_s: float | None, *, asynchronous: bool) -> None:
        self.iteration_timeout_s = iteration_timeout_s
        self.iteration_due: float | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop() if asynchronous else None
        self._task = asyncio.current_task() if asynchronous else None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._running: Step | None = None
        self._due: float | None = None
        self._cancels = False
        self._expired = False
        if self._loop is not None and clock.driven:
            clock.subscribe(self._moved)

    def begin(self) -> None:
        """Begin an iteration."""
        if self.iteration_timeout_s is not None:
            self.iteration_due = self._clock.monotonic() + self.iteration_timeout_s

    def left_s(self) -> float | None:
        """Return what is left of the iteration's time; None without a limit."""
        return None if self.iteration_due is None else self.iteration_due - self._clock.monotonic()

    def current(self, attempt: int) -> Deadline | None:
        """Return the deadline of what is being executed; may be called from any thread."""
        step, due = self._running, self._due
        return None if step is None or due is None else Deadline(due, step.node_id, attempt, self._cancels)

    def watched(self, step: Step, timeout_s: float | None, *, cancels: bool) -> Callable[..., Any]:
        """Return the step's call with a limit of so many seconds."""
        call = step.call

        def called(*data: Any) -> Any:
            self._enter(step, timeout_s, cancels=False)
            try:
                return call(*data)
            finally:
                self._running = None

        async def awaited(*data: Any) -> Any:
            self._enter(step, timeout_s, cancels=cancels)
            try:
                output = await call(*data)
            except asyncio.CancelledError:
                if not self._take_expired():
                    raise
                raise self._error(step, timeout_s) from None
            finally:
                self._running = None
            if self._expired and self._take_expired():
                raise self._error(step, timeout_s)  # it would not be cancelled
            return output

        return awaited if step.awaits else called

    def close(self) -> None:
        """Set no timer any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def _enter(self, step: Step, timeout_s: float | None, *, cancels: bool) -> None:
        due = None if timeout_s is None else self._clock.monotonic() + timeout_s
        if self.iteration_due is not None:
            due = self.iteration_due if due is None else min(due, self.iteration_due)
        self._due, self._cancels, self._running = due, cancels, step
        # A timer that is set for earlier will look again by itself.
        if cancels and due is not None and (self._timer is None or due < self._timer_at):
            self._set(due)

    def _set(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None and not self._clock.driven:
            self._timer_at = due
            self._timer = self._loop.call_later(max(0.0, due - self._clock.monotonic()), self._look)

    def _moved(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: there is nothing left to cancel
                loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._timer = None
        due = self._due
        if self._running is None or not self._cancels or due is None or self._task is None or self._expired:
            return
        if due > self._clock.monotonic():
            self._set(due)
            return
        self._expired = True
        self._task.cancel()

    def _take_expired(self) -> bool:
        """Tell whether the cancellation was ours, and nobody else's beside it."""
        expired, self._expired = self._expired, False
        if not expired or self._task is None:
            return False
        return self._task.uncancel() == 0

    def _error(self, step: Step, timeout_s: float | None) -> Exception:
        left = self.left_s()
        if left is not None and left <= 0:
            limit = self.iteration_timeout_s
            return IterationTimeout(f"the iteration took longer than {limit} s, in {step.node_id}", timeout_s=limit)
        return AttemptTimeout(f"{step.node_id} took longer than {timeout_s} s", timeout_s=timeout_s)
