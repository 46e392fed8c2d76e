"""The LoopManager: runs one plan. It knows its ProducerNode and the steps below it, and no graph."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from treadle.clock import SystemClock
from treadle.loop.activity import Activity
from treadle.loop.control import Control
from treadle.loop.modes import DirectMode, Mode, OwnLoopMode, TaskMode, need_event_loop
from treadle.loop.ports import drive
from treadle.loop.run import Run
from treadle.loop.stats import LoopSnapshot, LoopStats
from treadle.loop.trace import INSIDE, NUMBER, Trace, no_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from treadle.clock import Clock
    from treadle.loop.deadlines import Deadline
    from treadle.loop.outcome import Outcome
    from treadle.loop.tracing import Tracing
    from treadle.node import Node
    from treadle.queues.tenure import Tenure
    from treadle.workflow.plan import Plan


_CLOCK = SystemClock()


class LoopManager:
    """Runs a plan with its node objects on a tenure, once: `run` in a thread or process, `run_async` as a task.

    `nodes` are by node id (`build_nodes`). `on_open` is called when they are open, right before the first iteration.
    `trace` is where the loop writes where it is; `chance` returns numbers in [0, 1) for the jitter of retries.
    `tracing` says which iterations become traces, and where these go; None: none do.
    The four control methods may be called from any thread, also before the loop runs; `stats` too.
    """

    __slots__ = (
        "_chance",
        "_clock",
        "_control",
        "_nodes",
        "_on_open",
        "_plan",
        "_revision",
        "_run",
        "_seen",
        "_stats",
        "_tenure",
        "_trace",
        "_tracing",
        "producer",
    )

    def __init__(  # noqa: PLR0913 - what a host knows of a loop
        self,
        plan: Plan,
        nodes: Mapping[str, Node[Any]],
        tenure: Tenure,
        *,
        clock: Clock | None = None,
        revision: str = "",
        on_open: Callable[[], None] | None = None,
        trace: Trace | None = None,
        chance: Callable[[], float] = random.random,
        tracing: Tracing | None = None,
    ) -> None:
        self._plan = plan
        self._nodes = nodes
        self._tenure = tenure
        self._clock = clock or _CLOCK
        self._revision = revision
        self._on_open = on_open
        self._trace = trace if trace is not None else no_trace()
        self._chance = chance
        self._tracing = tracing
        self._run: Run | None = None
        self._seen: tuple[object, float] = (None, 0.0)
        self._control = Control(tenure.wake)
        self._stats = LoopStats([step.node for step in plan.steps])
        self.producer = nodes.get(plan.steps[0].node)  # None: a queue feeds the loop

    def run(self) -> Outcome:
        """Run in the calling thread until the loop ends. With an `async def` node, on an event loop of its own."""
        if not need_event_loop(self._nodes.values()):
            return drive(self._live(DirectMode(self._tenure)))
        import uvloop  # noqa: PLC0415 - loops without async nodes don't pay for it

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._run_on_own_loop())

    async def run_async(self) -> Outcome:
        """Run as a task of the running event loop until the loop ends."""
        return await self._live(TaskMode(self._tenure))

    async def _run_on_own_loop(self) -> Outcome:
        return await self._live(OwnLoopMode(self._tenure))

    def _live(self, mode: Mode) -> Coroutine[Any, Any, Outcome]:
        # No coroutine around that of the run: it would stay in memory for as long as the loop lives.
        run = self._run = Run(
            self._plan,
            self._nodes,
            self._tenure,
            mode=mode,
            control=self._control,
            stats=self._stats,
            clock=self._clock,
            revision=self._revision,
            trace=self._trace,
            chance=self._chance,
            tracing=self._tracing,
        )
        return run.live(self._on_open)

    def drain(self) -> None:
        """End at an iteration boundary, once everything has committed. Every wait of a node ends at once."""
        self._control.drain()

    def stop(self) -> None:
        """End at the next iteration boundary, without waiting for commits: what is not committed is repeated."""
        self._control.stop()

    def pause(self) -> None:
        """Start no further iteration until `resume`."""
        self._control.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        self._control.resume()

    def stats(self) -> LoopSnapshot:
        """Return the figures of this moment, from any thread."""
        return self._stats.snapshot(committed=self._tenure.committed, in_flight=self._tenure.in_flight)

    @property
    def executions(self) -> int:
        """All attempts of all nodes so far, from any thread."""
        return self._stats.executions

    def deadline(self) -> Deadline | None:
        """Return the deadline of what is being executed, None while nothing is or it has none. From any thread."""
        run = self._run
        if run is None or run.deadlines is None:
            return None
        return run.deadlines.current(run.recovery.attempt)

    def position(self) -> tuple[str, int]:
        """Return the node whose turn it is and the attempt; "" and 0 when no code of nodes runs."""
        run = self._run
        if run is None or not self._trace[INSIDE]:
            return "", 0
        return run.steps[run.iteration.at].node_id, run.recovery.attempt

    def activity(self) -> Activity | None:
        """Return which node is at work, None when none is. To be asked by one thread, again and again.

        Nodes don't note when they begin: `since` is the first time that it was seen where it is now.
        """
        run = self._run
        if run is None:
            return None
        again_at = run.recovery.again_at
        if not self._trace[INSIDE] and again_at is None:
            return None
        at, attempt = run.iteration.at, run.recovery.attempt
        seen = (at, attempt, again_at, self._trace[NUMBER], self.executions)
        if seen != self._seen[0]:
            self._seen = (seen, self._clock.monotonic())
        return Activity(run.steps[at].node_id, self._seen[1], attempt, again_at)
