"""A loop whose work comes from a ProducerNode: it is called, and what it returns runs through the plan."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

from treadle.data import Idle, LoopComplete, NodeData
from treadle.loop.burst import Broken, Burst
from treadle.loop.chain import LEFT
from treadle.loop.output import is_signal
from treadle.loop.recovery import Abandoned

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.loop.run import Run, Verdict


class Called:
    """Drives a ProducerNode."""

    __slots__ = ("_idle", "_run", "_then")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._idle = False
        self._then = 0  # when the last iteration was over

    def ready(self) -> bool:
        """Whether the producer may be asked: always; only it knows."""
        return True

    def ended(self) -> bool:
        """Only the producer says so, by LoopComplete."""
        return False

    async def iterate(self) -> Verdict:
        """Iterate until something ends the loop. Raises LoopFailed."""
        run, tracer = self._run, self._run.tracer
        run.begin()  # makes what the rest is made of
        append = run.tenure.plain(None, run.chain.pushes)
        burst = self._bursts()  # only now: its lane is the way that `plain` opened
        verdict = None
        while verdict is None:
            if tracer is not None:
                tracer.ended(self._then)
            verdict = await run.boundary.cross(self) or await self._work(burst, append)
        return verdict

    async def _work(  # noqa: C901, PLR0912, PLR0915 - the hot loop: a call per part would cost a tenth
        self, burst: Burst | None, append: Callable[[int, bytes | None], bool]
    ) -> Verdict | None:
        """Iterate until it is time to look up, or the producer says that there is no more."""
        run = self._run
        tenure, control, iteration, stats, chain = run.tenure, run.control, run.iteration, run.stats, run.chain
        carry, durations, producer, chained = run.walk.carry, stats.durations, run.steps[0], chain.run
        produce, awaits, taken, chain_awaits = producer.call, producer.awaits, producer.durations, chain.awaits
        clock, direct, lasts, idle, length = perf_counter_ns, chain.direct, chain.lasts, self._idle, 0
        begin, then = None if run.deadlines is None else run.deadlines.begin, clock()
        broken: Any = Broken.NEW  # the first one runs whatever there is to look at
        due = run.boundary.next_look(then)
        if run.tracer is not None:
            due = run.tracer.look(then, due)
            produce, carry, chained, direct = run.tracer.tools()
        while broken is not None or not (control.raised or then >= due):
            start, chain.lone, resumed, broken = then, None, broken, None
            try:
                if resumed is None or resumed is Broken.NEW or burst is None:
                    iteration.at = 0
                    if begin is not None:
                        begin()
                    output = produce()
                    if awaits:
                        output = await output
                    then = clock()
                elif resumed is Broken.OUTPUT:
                    output = burst.output
                else:
                    output = resumed
                    start = burst.since
                    burst.resume()
                if type(output) is dict and not direct:
                    output = NodeData(output)
                if type(output) is NodeData or type(output) is dict:
                    lasts[0] = bucket = (then - start).bit_length()
                    taken[bucket] += 1
                    if chained is None:
                        then = await carry(0, output, None, then)
                    else:
                        then = (await chained(output, then)) if chain_awaits else chained(output, then)
                        if then == LEFT:
                            then = await carry(*chain.left, clock())
                elif type(output) is Broken:
                    if output is Broken.LEFT:
                        then = await carry(*chain.left, then)
                elif is_signal(output, LoopComplete):
                    return self._complete()
                elif _no_work(output):
                    self._rest(output)
                    return None
                else:
                    taken[(then - start).bit_length()] += 1
                    then = await carry(0, output, None, then)
            except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
                due, iteration.began = 0, start
                how = await self._mend(exc)
                if how != "done":
                    return self._complete() if how == "completed" else None
                then = clock()
            took = then - start
            durations[took.bit_length()] += 1
            if idle:
                idle = self._idle = False
                run.boundary.pace.worked()
            if iteration.touched:
                run.commit(())
                then = clock()
                due = due if tenure.has_room else 0
                continue
            if chain.lone is not None:
                iteration.counted += 1
                if not append(0, chain.lone):
                    due = 0
                    continue
            else:
                stats.untouched += 1
            if burst is not None and chained is not None and (length := burst.length(took)) and not control.raised:
                burst.called(produce, length)
                broken, then = burst.broken, burst.ended
                due = due if tenure.has_room else 0
        self._then = then
        return None

    def _bursts(self) -> Burst | None:
        """Return what runs many iterations in a row, where nothing has to be looked at or awaited in between."""
        run = self._run
        may = run.chain.run is not None and not run.chain.awaits and not run.steps[0].awaits
        return Burst(run, run.tenure.lane) if may and run.deadlines is None and not run.boundary.always else None

    async def _mend(self, exc: BaseException) -> Literal["done", "left", "completed"]:
        """Go on after something was raised: by the producer, or below it. One that is left comes to nothing."""
        run = self._run
        self._then = perf_counter_ns()
        if run.iteration.at or isinstance(exc, Abandoned):
            return "done" if await run.mend(exc) else "left"
        try:
            output = await run.recovery.output(run.steps[0], None, exc)
            if is_signal(output, LoopComplete):
                return "completed"
            if _no_work(output):
                self._rest(output)
                return "left"
            await run.walk.carry(0, output, None, perf_counter_ns())
        except Abandoned as abandoned:
            run.give_up(abandoned)
            return "left"
        return "done"

    def _complete(self) -> Verdict:
        """Commit what the producer did before it said that there is no more."""
        if self._run.iteration.touched:
            self._run.commit(())
        return "completed"

    def _rest(self, output: Any) -> None:
        """Rest, unless the producer did something all the same and asked for no rest."""
        run = self._run
        self._then = perf_counter_ns()
        if run.iteration.touched:
            run.commit(())
            if not isinstance(output, Idle):
                return
        run.stats.idle_ticks += 1
        run.boundary.pace.idle(run.clock.monotonic(), output.after if isinstance(output, Idle) else None)
        self._idle = True


def _no_work(output: Any) -> bool:
    return output is None or isinstance(output, Idle) or (isinstance(output, list | tuple) and not output)
