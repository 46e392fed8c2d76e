"""Celery, acknowledging late: one process without a pool inside, which is its quickest for small tasks."""

from __future__ import annotations

from celery import Celery
from note import URL, VISIBILITY_S, main, message, note

app = Celery("peer", broker=URL)
app.conf.update(
    broker_transport_options={"visibility_timeout": VISIBILITY_S, "polling_interval": 0.01},
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1000,
)


@app.task(name="take", ignore_result=True)
def take(data: dict) -> None:
    """Handle a message."""
    note(data["n"])


def produce(count: int) -> None:
    """Send."""
    for n in range(count):
        take.delay(message(n))


def work() -> None:
    """Handle."""
    app.worker_main(
        ["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )


if __name__ == "__main__":
    main(produce, work)
