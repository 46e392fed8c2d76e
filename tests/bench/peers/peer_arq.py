"""Arq, a hundred jobs at a time, results not kept."""

from __future__ import annotations

import asyncio

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from note import URL, VISIBILITY_S, main, message, note

SETTINGS = RedisSettings.from_dsn(URL)
AT_ONCE = 100


async def take(_: dict, data: dict) -> None:
    """Handle a message."""
    note(data["n"])


def produce(count: int) -> None:
    """Send."""

    async def send() -> None:
        pool = await create_pool(SETTINGS)
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(count, start + AT_ONCE))
            await asyncio.gather(*(pool.enqueue_job("take", message(n)) for n in numbers))

    uvloop.run(send())


def work() -> None:
    """Handle."""
    asyncio.set_event_loop(uvloop.new_event_loop())
    taking = func(take, name="take", keep_result=0, timeout=VISIBILITY_S)
    Worker([taking], redis_settings=SETTINGS, max_jobs=AT_ONCE, poll_delay=0.01, job_timeout=VISIBILITY_S).run()


if __name__ == "__main__":
    main(produce, work)
