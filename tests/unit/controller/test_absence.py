"""What the controller remembers of consumers that are away ends with them."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from treadle.queues.admin import QueueAdmin
from treadle_controller.leader import Leader
from treadle_controller.leader.absence import Absence
from treadle_controller.leader.image import Image
from treadle_controller.leader.link import QueueLink
from treadle_controller.store import Store
from treadle_controller.store.records import ConsumerRecord


@asynccontextmanager
async def leading(folder: Path) -> AsyncIterator[Leader]:
    """A leader over a real store; nothing here asks Redis."""
    store = Store(f"sqlite:///{folder / 'controller.db'}")
    store.open()
    admin = QueueAdmin("redis://127.0.0.1:1", "default", timeout_s=1.0)
    try:
        yield Leader(store, Image("default"), QueueLink(admin, term=1, redis_id="", beat=0), name="c", last_event=0)
    finally:
        await admin.close()
        store.close()


def test_an_absence_that_was_told_of_is_forgotten_with_its_consumer(tmp_path: Path) -> None:
    async def play() -> None:
        async with leading(tmp_path) as leader:
            absence = Absence(leader, 0.0)
            away = ConsumerRecord("raw", "ann", 1, 1.0, seen=time.time() - 3600.0)
            leader.image.consumers[away.key] = away
            await absence.run_once()
            assert [event.code for event in leader.journal.take_unsaved()] == ["consumer-away"]
            assert absence.remembered == {away.key}

            del leader.image.consumers[away.key]
            await absence.run_once()

            assert absence.remembered == set()

    asyncio.run(play())


def test_an_absence_that_was_not_written_yet_is_forgotten_with_its_consumer(tmp_path: Path) -> None:
    async def play() -> None:
        async with leading(tmp_path) as leader:
            absence = Absence(leader, 0.0)
            gone = ConsumerRecord("raw", "ann", 1, 1.0)
            leader.image.consumers[gone.key] = gone
            absence.begins(gone.key)
            assert absence.remembered == {gone.key}

            del leader.image.consumers[gone.key]
            await absence.run_once()

            assert absence.remembered == set()

    asyncio.run(play())


def test_the_lock_of_a_consumer_is_kept_while_somebody_has_it_and_no_longer(tmp_path: Path) -> None:
    async def play() -> None:
        async with leading(tmp_path) as leader:
            key = ConsumerRecord("raw", "ann", 1, 1.0).key
            async with leader.consumers.changing(key):
                gc.collect()
                assert leader.consumers.changing(key).locked(), "everybody gets the same one"

            gc.collect()

            assert not leader.consumers.locks

    asyncio.run(play())
