"""Dramatiq without middleware, which costs it a third."""

from __future__ import annotations

import threading

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from note import URL, VISIBILITY_S, main, message, note

broker = RedisBroker(url=URL, middleware=[], heartbeat_timeout=VISIBILITY_S * 1000)
dramatiq.set_broker(broker)


@dramatiq.actor
def take(data: dict) -> None:
    """Handle a message."""
    note(data["n"])


def produce(count: int) -> None:
    """Send."""
    for n in range(count):
        take.send(message(n))


def work() -> None:
    """Handle."""
    dramatiq.Worker(broker, worker_threads=4).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(produce, work)
