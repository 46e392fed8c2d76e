"""Taskiq on Redis streams, acknowledging when executed."""

from __future__ import annotations

import asyncio

import uvloop
from note import URL, VISIBILITY_S, main, message, note
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

AT_ONCE = 100
broker = RedisStreamBroker(
    URL,
    idle_timeout=VISIBILITY_S * 1000,
    unacknowledged_batch_size=1000,
    consumer_id="0",
    xread_count=1000,
    xread_block=200,
)


@broker.task(task_name="take")
async def take(data: dict) -> None:
    """Handle a message."""
    note(data["n"])


def produce(count: int) -> None:
    """Send."""

    async def send() -> None:
        await broker.startup()
        for start in range(0, count, AT_ONCE):
            await asyncio.gather(*(take.kiq(message(n)) for n in range(start, min(count, start + AT_ONCE))))

    uvloop.run(send())


def work() -> None:
    """Handle."""
    broker.is_worker_process = True
    uvloop.run(
        run_receiver_task(
            broker, max_async_tasks=1000, ack_time=AcknowledgeType.WHEN_EXECUTED, run_startup=True, max_prefetch=1000
        )
    )


if __name__ == "__main__":
    main(produce, work)
