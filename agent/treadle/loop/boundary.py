"""Between two iterations: everything that a loop ever waits for, and everything that ends it, in one place.

Level-triggered: after every wake all is looked at again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from treadle.loop.pace import Pace, Ticks
from treadle.loop.trace import INSIDE, NUMBER

if TYPE_CHECKING:
    from treadle.loop.run import Run, Verdict

HOUSEKEEPING_NS = 50_000_000  # between two looks at what raises no flag
TURN_NS = 1_000_000  # how long a task keeps the event loop of its host


_NO_TICKS = Ticks({}, 0.0)


class Source(Protocol):
    """What the next iteration starts from."""

    def ready(self) -> bool:
        """Whether there is something to start from now."""
        ...

    def ended(self) -> bool:
        """Whether there never will be; asked when nothing is ready."""
        ...


class Boundary:
    """`cross` returns when the next iteration may start, or says how the loop ends."""

    __slots__ = ("_clock", "_control", "_run", "_tenure", "_ticks", "_trace", "_turn_ns", "always", "pace")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tenure = run.tenure
        self._control = run.control
        self._clock = run.clock
        self._trace = run.trace
        self.pace = Pace(run.plan.interval_s)
        ticking = {
            step.at: step.node.tick for step in run.steps if step.node is not None and step.node.tick is not None
        }
        self._ticks = Ticks(ticking, run.clock.monotonic()) if ticking else _NO_TICKS
        # An interval has to be looked at after every iteration; so has a clock that only a test moves.
        self.always = bool(run.plan.interval_s or (ticking and run.clock.driven))
        self._turn_ns = TURN_NS if run.mode.asynchronous else HOUSEKEEPING_NS

    def next_look(self, then: int) -> int:
        """Return the moment, in nanoseconds like `then`, at which the boundary is to be crossed slowly again."""
        if self.always:
            return 0
        tick = self._ticks.next_due
        if tick is None:
            return then + self._turn_ns
        return then + min(self._turn_ns, max(0, int((tick - self._clock.monotonic()) * 1e9)))

    async def cross(self, source: Source) -> Verdict | None:
        """Wait until the next iteration may start: None; else how the loop ends."""
        trace = self._trace
        trace[INSIDE] = trace[NUMBER] = 0
        if self._run.mode.asynchronous:
            await asyncio.sleep(0)  # other loops' turn
        while True:
            self._control.raised = False  # before the flags are read: one set meanwhile raises it again
            verdict = self._verdict()
            if verdict is not None:
                return verdict
            now = self._clock.monotonic()
            if self._control.paused:
                await self._run.mode.port.wait(None)
                continue
            tick = self._ticks.take_due(now) if self._tenure.has_room else None
            if tick is not None:
                await self._run.carry_own(self._run.steps[tick], "on_tick", self._clock.time())
                continue
            if self._tenure.has_room and now >= self.pace.next_call:
                if source.ready():
                    self.pace.calling(now)
                    trace[INSIDE] = 1
                    return None
                if source.ended():
                    return "completed"
            await self._run.mode.port.wait(self._timeout(now))

    async def room(self) -> bool:
        """Wait for room for one more iteration; False when the loop ends before there is any."""
        while not self._tenure.has_room:
            if self._verdict() is not None:
                return False
            await self._run.mode.port.wait(None)
        return True

    def _verdict(self) -> Verdict | None:
        if self._tenure.lost is not None:
            return "lost"
        if self._control.stopped:
            return "stopped"
        return "drained" if self._control.draining else None

    def _timeout(self, now: float) -> float | None:
        if not self._tenure.has_room:
            return None
        moments = [
            moment for moment in (self.pace.next_call, self._ticks.next_due) if moment is not None and moment > now
        ]
        return min(moments) - now if moments else None
