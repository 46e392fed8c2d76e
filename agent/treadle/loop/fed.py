"""A loop that a queue feeds: each message is one iteration, a whole batch is worked off without looking up."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from treadle.data import NodeData, Route
from treadle.headers import HANDLE, MessageHeaders
from treadle.loop.burst import Broken, Burst
from treadle.loop.chain import LEFT
from treadle.loop.trace import NUMBER, QUEUE
from treadle.queues.manager import bad_message
from treadle.queues.tenure import BadItem, Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.loop.run import Run, Verdict


class Fed:
    """Takes messages from one or more queues, in turn a batch of each."""

    __slots__ = ("_batch", "_buried", "_burst", "_plain", "_position", "_queues", "_routes", "_run", "_then")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queues = list(run.plan.steps[0].queues)
        self._batch: Batch | None = None
        self._position = 0  # of the next message in the batch
        self._then = 0  # when the last iteration ended, in nanoseconds
        self._buried = False  # what the last iteration that was given up had popped is among the dead letters
        self._routes = run.plan.tail_of is not None
        self._plain: Callable[[int, bytes | None], bool] | None = None  # made with the first batch
        self._burst: Burst | None = None

    def ready(self) -> bool:
        """Whether a message is here; takes a batch if need be."""
        if self._batch is not None and self._position < len(self._batch.items):
            return True
        for queue in tuple(self._queues):
            # The queue that was asked goes to the end: merged queues take turns.
            self._queues.append(self._queues.pop(0))
            self._batch = self._run.tenure.poll(queue)
            if self._batch is not None and self._batch.items:
                self._position = 0
                return True
        return False

    def ended(self) -> bool:
        """Whether no message will ever come."""
        return all(self._run.tenure.ended(queue) for queue in self._queues)

    async def iterate(self) -> Verdict:
        """Iterate until something ends the loop. Raises LoopFailed."""
        tracer = self._run.tracer
        while True:
            if tracer is not None:
                tracer.ended(self._then)
            verdict = await self._run.boundary.cross(self)
            if verdict is not None:
                return verdict
            if tracer is not None:
                tracer.look(perf_counter_ns(), 0)
            if self._batch is not None:
                self._position = await self._work_off(self._batch, self._position)

    async def _work_off(  # noqa: C901, PLR0912, PLR0915 - the hot loop: a call per part would cost every message
        self, batch: Batch, position: int
    ) -> int:
        """Run an iteration per message until the batch is done or something wants attention; returns the position."""
        run = self._run
        run.begin()
        tenure, control, iteration, chain = run.tenure, run.control, run.iteration, run.chain
        append, pushed, carry, durations = tenure.append, iteration.pushed, run.walk.carry, run.stats.durations
        chained, chain_awaits, tracer = chain.run, chain.awaits, run.tracer
        if tracer is not None:
            _, _, chained, _ = tracer.tools()
        plain = self._plain or self._appending(batch.queue)
        taken, clock, routes = run.steps[0].durations, perf_counter_ns, self._routes
        queue, first, items = batch
        begin = None if run.deadlines is None else run.deadlines.begin
        trace, lasts, burst, broken = run.trace, chain.lasts, self._burst, None
        trace[QUEUE] = run.plan.steps[0].queues.index(queue)
        prefix = f"{tenure.namespace}/{queue}/"
        then = clock()
        due, goes_on = run.boundary.next_look(then), None
        if tracer is not None:
            due = tracer.due(then, due)
            goes_on = tracer.goes_on if tracer.recording is None else None
        at, end = position, len(items)
        while at < end:
            start, item, number = then, items[at], first + at
            chain.lone = None
            try:
                if broken is None or broken is Broken.NEW:
                    iteration.at = 0
                    trace[NUMBER] = number
                    if begin is not None:
                        begin()
                    if type(item) is BadItem:
                        raise bad_message(queue, number, item)  # noqa: TRY301 - fails like any other iteration
                    payload, carried = item
                    if carried is not None and goes_on is not None and goes_on(carried):
                        return at
                    iteration.message = headers = MessageHeaders(prefix, queue, number, carried)
                    data = NodeData(payload, headers)
                    then = clock()
                    lasts[0] = bucket = (then - start).bit_length()
                    taken[bucket] += 1
                    if chained is None or (routes and carried):
                        then = await carry(0, _routed(data, carried) if routes else data, headers, then)
                    else:
                        then = (await chained(data, then)) if chain_awaits else chained(data, then)
                        if then == LEFT:
                            then = await carry(*chain.left, clock())
                elif burst is not None:
                    start = burst.since
                    burst.resume()
                    if broken is Broken.LEFT:
                        then = await carry(*chain.left, then)
            except BaseException as exc:  # noqa: BLE001 - a node's; what isn't is raised again
                due, iteration.began = 0, start
                if not await self._mend(exc, queue, number, item):
                    self._then = clock()
                    return at + self._buried
                then = clock()
            took = then - start
            durations[took.bit_length()] += 1
            at += 1
            length = 0
            if iteration.beyond_pushes:
                run.commit(((queue, number, number),))
                room = tenure.has_room
            elif iteration.touched:
                append(((queue, number, number),), iteration.pushes)
                pushed()
                room = tenure.has_room
            else:
                room = plain(number, chain.lone)
                iteration.counted += 1
                if burst is not None and chained is not None and room and not control.raised:
                    length = burst.length(took)
            broken = None
            if burst is not None and length:
                at = burst.fed(batch, prefix, at, length, asks=goes_on is not None)
                broken, then, room = burst.broken, burst.ended, tenure.has_room
            if broken is None and (control.raised or not room or then >= due):
                break
        self._then = then
        return at

    def _bursts(self) -> Burst | None:
        """Return what runs many iterations in a row, where nothing has to be looked at or awaited in between."""
        run = self._run
        may = run.chain.run is not None and not run.chain.awaits
        return Burst(run, run.tenure.lane) if may and run.deadlines is None and not run.boundary.always else None

    def _appending(self, queue: str) -> Callable[[int, bytes | None], bool]:
        """Return what appends plain iterations."""
        if len(self._queues) > 1:
            return self._written_out(queue)
        self._plain = plain = self._run.tenure.plain(queue, self._run.chain.pushes)
        self._burst = self._bursts()
        return plain

    def _written_out(self, queue: str) -> Callable[[int, bytes | None], bool]:
        """Return what appends plain iterations of one of several queues."""
        tenure, pushes = self._run.tenure, self._run.chain.pushes or ""

        def append(number: int, item: bytes | None) -> bool:
            tenure.append(((queue, number, number),), () if item is None else ((pushes, item),))
            return tenure.has_room

        return append

    async def _mend(self, exc: BaseException, queue: str, number: int, item: Any) -> bool:
        """Go on with the iteration; False when it was given up: its message was buried, or stays for another time."""
        run = self._run
        before = run.stats.dead_letters
        run.iteration.source = queue, number, item
        try:
            return await run.mend(exc)
        finally:
            run.iteration.source = run.iteration.given = None
            self._buried = run.stats.dead_letters > before


def _routed(data: NodeData, carried: Any) -> Any:
    """Return what a non-blocking node sent to this tail: its Route again, if it was one."""
    handle = None if carried is None else carried.get(HANDLE)
    return data if handle is None else Route(handle, data)
