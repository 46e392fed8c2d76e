"""Saq, a hundred jobs at a time, results not kept."""

from __future__ import annotations

import asyncio

import uvloop
from note import URL, VISIBILITY_S, main, message, note
from saq import Queue, Worker

AT_ONCE = 100


async def take(_: dict, *, data: dict) -> None:
    """Handle a message."""
    note(data["n"])


def produce(count: int) -> None:
    """Send."""

    async def send() -> None:
        queue = Queue.from_url(URL)
        await queue.connect()
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(count, start + AT_ONCE))
            await asyncio.gather(
                *(queue.enqueue("take", data=message(n), ttl=-1, timeout=VISIBILITY_S, retries=5) for n in numbers)
            )

    uvloop.run(send())


def work() -> None:
    """Handle."""

    async def run() -> None:
        queue = Queue.from_url(URL)
        await Worker(queue, [take], concurrency=AT_ONCE, timers={"sweep": VISIBILITY_S}).start()

    uvloop.run(run())


if __name__ == "__main__":
    main(produce, work)
