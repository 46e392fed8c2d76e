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
    from treadle.loop.run import Run, Verdict


class Called:
    """Drives a ProducerNode."""

    __slots__ = ("_mended", "_run")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._mended: Any = None  # what the producer returned in the end

    def ready(self) -> bool:
        """Whether the producer may be asked: always; only it knows."""
        return True

    def ended(self) -> bool:
        """Only the producer says so, by LoopComplete."""
        return False

    async def iterate(self) -> Verdict:  # noqa: C901, PLR0912, PLR0915 - the hot loop: a call per part would cost a tenth
        """Iterate until something ends the loop. Raises LoopFailed."""
        run = self._run
        run.begin()
        tenure, control, iteration, stats = run.tenure, run.control, run.iteration, run.stats
        cross, carry, durations, chain = run.boundary.cross, run.walk.carry, stats.durations, run.chain
        chained, chain_awaits, tracer = chain.run, chain.awaits, run.tracer
        producer = run.steps[0]
        produce, awaits, taken = producer.call, producer.awaits, producer.durations
        clock, next_look = perf_counter_ns, run.boundary.next_look
        direct, append = chain.direct, tenure.plain(None, chain.pushes)
        lasts, burst, broken, length = chain.lasts, self._bursts(), None, 0
        begin = None if run.deadlines is None else run.deadlines.begin
        idle, due, then = False, 0, 0  # the first look comes before the first iteration
        while True:
            if broken is None and (control.raised or then >= due):
                if tracer is not None:
                    tracer.ended(then)
                verdict = await cross(self)
                if verdict is not None:
                    return verdict
                then = clock()
                due = next_look(then)
                if tracer is not None:
                    due = tracer.look(then, due)
                    produce, carry, chained, direct = tracer.tools()
            start = then
            chain.lone = None
            resumed = broken
            broken = None
            try:
                if resumed is None or burst is None:
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
                    if iteration.touched:
                        run.commit(())
                    return "completed"
                elif _no_work(output):
                    idle, due = self._rest(output, idle=idle), 0
                    continue
                else:
                    taken[(then - start).bit_length()] += 1
                    then = await carry(0, output, None, then)
            except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
                due, iteration.began = 0, start
                match await self._mend(exc):
                    case "completed":
                        if iteration.touched:
                            run.commit(())
                        return "completed"
                    case "no-work":
                        idle = self._rest(self._mended, idle=idle)
                        continue
                    case "given-up":
                        continue
                then = clock()
            took = then - start
            durations[took.bit_length()] += 1
            if idle:
                run.boundary.pace.worked()
                idle = False
            if iteration.touched:
                run.commit(())
                then = clock()
                if not tenure.has_room:
                    due = 0
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
                if not tenure.has_room:
                    due = 0

    def _bursts(self) -> Burst | None:
        """Return what runs many iterations in a row, where nothing has to be looked at or awaited in between."""
        run = self._run
        may = run.chain.run is not None and not run.chain.awaits and not run.steps[0].awaits
        return Burst(run, run.tenure.lane) if may and run.deadlines is None and not run.boundary.always else None

    async def _mend(self, exc: BaseException) -> Literal["done", "given-up", "no-work", "completed"]:
        """Go on after something was raised: by the producer, or below it."""
        run = self._run
        if run.iteration.at or isinstance(exc, Abandoned):
            return "done" if await run.mend(exc) else "given-up"
        try:
            self._mended = output = await run.recovery.output(run.steps[0], None, exc)
            if is_signal(output, LoopComplete):
                return "completed"
            if _no_work(output):
                return "no-work"
            await run.walk.carry(0, output, None, perf_counter_ns())
        except Abandoned as abandoned:
            run.give_up(abandoned)
            return "given-up"
        return "done"

    def _rest(self, output: Any, *, idle: bool) -> bool:
        """Rest, unless the producer did something all the same and asked for no rest. Returns whether it is idle."""
        run = self._run
        if run.iteration.touched:
            run.commit(())
            if not isinstance(output, Idle):
                return idle
        run.stats.idle_ticks += 1
        run.boundary.pace.idle(run.clock.monotonic(), output.after if isinstance(output, Idle) else None)
        return True


def _no_work(output: Any) -> bool:
    return output is None or isinstance(output, Idle) or (isinstance(output, list | tuple) and not output)
