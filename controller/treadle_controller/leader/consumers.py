"""Programs outside that read queues: each has a reader slot, and an epoch from the store whenever it takes it.

A slot begins with the first time that its consumer comes, is one of the queue's slots like a loop's replica, and stays
until it is given up. Who takes it is the only one who may commit: Redis refuses everybody with an older epoch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

from msgspec.structs import replace

from treadle.errors import QueueError, TreadleError
from treadle.queues.tenure import LoopKey
from treadle_controller.errors import Conflict, NotFound, NotNow, Refused
from treadle_controller.leader.absence import Absence
from treadle_controller.leader.changes import Changes
from treadle_controller.store.records import ConsumerRecord

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader

_MOST_TRIES: Final = 5
_SETTLED_S: Final = 10.0  # a queue whose slots are not right by then waits for a loop that is being drained


class Seat(Protocol):
    """A stream of a consumer that holds its slot. It has `epoch`; `end` tells it why it has to go."""

    epoch: int

    def end(self, why: TreadleError) -> None:
        """Stop, and answer with an error."""


class Consumers:
    """See the module. Everything here belongs to the leader's event loop."""

    def __init__(self, leader: Leader, absence: Absence) -> None:
        self._leader = leader
        self._absence = absence
        self._image = leader.image
        self._seats: dict[LoopKey, Seat] = {}
        # Held by whoever changes a consumer's record; each is there for as long as somebody has it.
        self.locks: WeakValueDictionary[LoopKey, asyncio.Lock] = WeakValueDictionary()
        self._rounds: set[asyncio.Future[None]] = set()

    def is_connected(self, record: ConsumerRecord) -> bool:
        """Whether a stream of a consumer is open."""
        return record.key in self._seats

    def holds(self, key: LoopKey, seat: Seat) -> bool:
        """Whether a slot is this stream's, as far as this controller knows."""
        return self._seats.get(key) is seat

    async def take(self, queue: str, name: str, seat: Seat, *, actor: str) -> ConsumerRecord:
        """Take the slot of a consumer under a new epoch; whoever had it is told to go.

        Raises Refused where the queue is not external, NotNow while its slots can't be arranged, QueueError when Redis
        can't be asked.
        """
        self.judge(queue)
        key = ConsumerRecord(queue, name, 0, 0.0).key
        async with self.changing(key):
            await self._found(ConsumerRecord(queue, name, 0, time.time()), actor)
            await self._settled(queue)
            record = await self._renew(key)
            # Whoever had the slot can't commit any more: it hears of it last.
            before, self._seats[key] = self._seats.get(key), seat
            seat.epoch = record.epoch
            if before is not None:
                message = f"another stream of the consumer {name!r} has taken over"
                before.end(Conflict(message, reason="consumer-taken-over", kind="consumer", name=name))
            return record

    def leave(self, key: LoopKey, seat: Seat) -> None:
        """Take note that a stream is over. The slot stays its consumer's."""
        if self._seats.get(key) is seat:
            del self._seats[key]
            self._absence.begins(key)

    def changing(self, key: LoopKey) -> asyncio.Lock:
        """Return what is held by whoever changes the record of a consumer."""
        return self.locks.setdefault(key, asyncio.Lock())

    def judge(self, queue: str) -> None:
        """Raise Refused unless programs outside may read and write a queue by streams."""
        if not self._image.is_external(queue):
            message = f'no workflow says that programs outside use the queue {queue!r}: set "external": true there'
            raise Refused(message, reason="queue-not-external", kind="queue", name=queue)

    async def delete(self, queue: str, name: str, *, actor: str) -> None:
        """Give up a slot for ever. Raises NotFound, QueueError."""
        record = self.find(queue, name)
        await self._give_up(record)
        self._leader.journal.add("queue", queue, "consumer-deleted", f"{name} gave up its reader slot", actor=actor)

    async def expire(self, record: ConsumerRecord) -> bool:
        """Give up the slot of who is away, unless it came back meanwhile. Raises QueueError."""
        if not self._leader.link.up:
            return False
        return await self._give_up(record, only_away=True)

    def find(self, queue: str, name: str) -> ConsumerRecord:
        """Return a consumer. Raises NotFound."""
        record = self._image.consumers.get(ConsumerRecord(queue, name, 0, 0.0).key)
        if record is None:
            message = f"the queue {queue!r} has no consumer {name!r}"
            raise NotFound(message, reason="consumer-not-found", kind="consumer", name=name)
        return record

    async def delete_all(self, queue: str) -> None:
        """Give up all slots of a queue that is deleted. Raises QueueError."""
        for record in self._image.consumers_of(queue):
            await self._give_up(record)

    def look(self, queues: Iterable[str]) -> None:
        """Look at queues that a workflow describes anew: they may be external no longer, or again."""
        if not self._image.consumers:
            return
        for queue in queues:
            if self._image.consumers_of(queue):
                self._image.slots_due.add(queue)
                self._part(queue)

    def round_done(self) -> None:
        """Take note that a round is over: slots may be right now, and epochs may be others."""
        for key, seat in list(self._seats.items()):
            record = self._image.consumers.get(key)
            if record is not None and seat.epoch and record.epoch > seat.epoch and key not in self._busy():
                message = "the reader slots of the queue were arranged anew: open the stream again"
                seat.end(NotNow(message, reason="consumer-reset", kind="consumer", name=record.name))
        waiting, self._rounds = self._rounds, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def end_all(self, why: TreadleError) -> None:
        """End all streams: the controller stops, or Redis is not what it was."""
        for seat in list(self._seats.values()):
            seat.end(why)

    def _busy(self) -> set[LoopKey]:
        return {key for key, lock in self.locks.items() if lock.locked()}

    def _part(self, queue: str) -> None:
        if self._image.is_external(queue):
            return
        message = f"the queue {queue!r} is no longer external"
        for record in self._image.consumers_of(queue):
            seat = self._seats.get(record.key)
            if seat is not None:
                seat.end(Refused(message, reason="queue-not-external", kind="queue", name=queue))

    async def _found(self, record: ConsumerRecord, actor: str) -> None:
        if record.key in self._image.consumers:
            return
        self._image.consumers[record.key] = record
        self._image.slots_due.add(record.queue)
        await self._leader.persist(Changes(consumers={record.key: record}))
        message = f"{record.name} has a reader slot"
        self._leader.journal.add("queue", record.queue, "consumer-added", message, actor=actor)

    async def _settled(self, queue: str) -> None:
        """Wait until Redis knows the slots of a queue. Raises NotNow."""
        if self._leader.slots.is_settled(queue):
            return
        try:
            async with asyncio.timeout(_SETTLED_S):
                self._image.slots_due.add(queue)
                self._leader.wake_up()
                while not self._leader.slots.is_settled(queue) and self._leader.link.up:
                    future = asyncio.get_running_loop().create_future()
                    self._rounds.add(future)
                    await (
                        future
                    )  # once only by our doing: a queue that waits is looked at when what it waits for is gone
        except TimeoutError:
            pass
        if not self._leader.link.up:
            raise NotNow(f"the queues can't be reached: {self._leader.link.problem}", reason="redis-unreachable")
        if not self._leader.slots.is_settled(queue):
            message = f"the reader slots of {queue!r} wait for a loop that is being stopped"
            raise NotNow(message, reason="consumer-reset", kind="queue", name=queue)

    async def _renew(self, key: LoopKey) -> ConsumerRecord:
        """Give a slot a new epoch: on disk first, then in Redis."""
        for _ in range(_MOST_TRIES):
            if key not in self._image.consumers:
                raise NotFound("the consumer was deleted", reason="consumer-not-found", kind="consumer", name=key.loop)
            record = replace(self._image.consumers[key], epoch=self._image.next_epoch(), seen=0.0)
            self._image.consumers[key] = record
            await self._leader.persist(Changes(consumers={key: record}, epoch=self._image.epoch))
            refused = await self._leader.link.admin.assign([(key, record.epoch)], self._leader.link.term)
            if not refused:
                return record
            self._image.epoch = max(self._image.epoch, refused[key])
        raise QueueError("Redis keeps refusing epochs: does another controller lead this namespace?", reason="EPOCHS")

    async def _give_up(self, record: ConsumerRecord, *, only_away: bool = False) -> bool:
        key = record.key
        async with self.changing(key):
            if only_away and (key in self._seats or key not in self._image.consumers):
                return False
            if key in self._image.consumers:
                await self._renew(key)
                await self._leader.link.admin.forget(key)
                self._image.consumers.pop(key, None)
                self._image.slots_due.add(record.queue)
                await self._leader.persist(Changes(left=[record]))
                self._leader.wake_up()
            seat = self._seats.pop(key, None)
            if seat is not None:
                message = f"the consumer {record.name!r} was deleted"
                seat.end(Conflict(message, reason="consumer-deleted", kind="consumer", name=record.name))
            return True
