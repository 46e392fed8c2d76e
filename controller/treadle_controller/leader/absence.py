"""Consumers that are away: since when is written down, it is said, and the slot of who is gone for good is given up.

What a consumer has claimed waits for it, and as long as something waits nothing behind it is trimmed. A consumer whose
stream ended with the controller counts as away from the moment when the next controller looks.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from treadle.errors import QueueError
from treadle.queues.tenure import LoopKey
from treadle_controller.leader.changes import Changes
from treadle_controller.store.records import ConsumerRecord

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader

_LOOK_S: Final = 1.0
_SAID_AFTER_S: Final = 60.0


class Absence:
    """See the module. `expire_s` is how long a slot is kept for who is away, 0 for ever."""

    def __init__(self, leader: Leader, expire_s: float) -> None:
        self._leader = leader
        self._expire_s = expire_s
        self._unsaved: set[LoopKey] = set()
        self._said: dict[LoopKey, float] = {}  # the absence that an event tells of, by its begin

    async def run(self) -> None:
        """Look at all consumers, again and again."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.run_once()

    async def run_once(self) -> None:
        """Look at all consumers, and forget those that were deleted."""
        for key in list(self._leader.image.consumers):
            await self._look(key)
        known = self._leader.image.consumers
        self._unsaved &= known.keys()
        for key in self._said.keys() - known.keys():
            del self._said[key]

    @property
    def remembered(self) -> set[LoopKey]:
        """The consumers that it knows something of."""
        return self._unsaved | self._said.keys()

    def begins(self, key: LoopKey) -> None:
        """Take note that a consumer has no stream any more."""
        record = self._leader.image.consumers.get(key)
        if record is not None:
            self._leader.image.consumers[key] = replace(record, seen=time.time())
            self._unsaved.add(key)

    async def _look(self, key: LoopKey) -> None:
        consumers = self._leader.consumers
        async with consumers.changing(key):
            record = self._leader.image.consumers.get(key)
            if record is None or consumers.is_connected(record):
                return
            if not record.seen:
                self.begins(key)
            if key in self._unsaved:
                self._unsaved.discard(key)
                await self._leader.persist(Changes(consumers={key: self._leader.image.consumers[key]}))
        record = self._leader.image.consumers.get(key)
        if record is not None and record.seen:
            await self._judge(record, time.time() - record.seen)

    async def _judge(self, record: ConsumerRecord, away_s: float) -> None:
        if self._expire_s and away_s >= self._expire_s:
            await self._expire(record)
        elif away_s >= _SAID_AFTER_S and self._said.get(record.key) != record.seen:
            self._said[record.key] = record.seen
            kept = f"for {self._expire_s:g} s" if self._expire_s else "until it is deleted"
            message = f"{record.name} is away; its reader slot, and what it has claimed, are kept {kept}"
            self._leader.journal.add("queue", record.queue, "consumer-away", message)

    async def _expire(self, record: ConsumerRecord) -> None:
        try:
            given_up = await self._leader.consumers.expire(record)
        except QueueError:
            return  # without Redis nothing can be given up; the next look tries again
        if given_up:
            message = f"{record.name} has been away for {self._expire_s:g} s: its reader slot is given up"
            self._leader.journal.add("queue", record.queue, "consumer-expired", message)
