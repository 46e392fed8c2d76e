"""The control: the same flow without transactions, written by hand: read, push, then say that it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import redis

from tests.chaos.queues.flow import Order, Report
from tests.chaos.queues.worker import leave

AT_ONCE = 50
END = b"end"


def live(order: Order) -> None:
    """Run a loop that is at least once at best."""
    with redis.Redis.from_url(order.url) as client:
        _ROLES[order.role](client, order.total)
    leave(order, Report("completed"))


def _source(client: redis.Redis, total: int) -> None:
    while (n := int(client.get("plain:n") or 0)) < total:
        upto = min(n + AT_ONCE, total)
        _push(client, "plain:in", (b"%d" % i for i in range(n, upto)))
        client.set("plain:n", upto)
    _push(client, "plain:in", [END])


def _transform(client: redis.Redis, total: int) -> None:
    _pump(client, "plain:in", lambda items: _push(client, "plain:out", items))


def _sink(client: redis.Redis, total: int) -> None:
    def keep(items: list[bytes]) -> None:
        client.rpush("plain:ledger", *items)

    _pump(client, "plain:out", keep)


def _pump(client: redis.Redis, stream: str, work: Callable[[list[bytes]], None]) -> None:
    """Read on from where somebody last said to be, until the end."""
    cursor = client.get(f"{stream}:cursor") or b"0"
    while True:
        found: Any = client.xread({stream: cursor}, count=AT_ONCE, block=200)
        if not found:
            continue
        entries = found[0][1]
        items = [fields[b"d"] for _, fields in entries]
        work(items)
        cursor = entries[-1][0]
        client.set(f"{stream}:cursor", cursor)
        if END in items:
            return


def _push(client: redis.Redis, stream: str, items: Iterable[bytes]) -> None:
    pipe = client.pipeline(transaction=False)
    for item in items:
        pipe.xadd(stream, {"d": item})
    pipe.execute()


_ROLES = {"source": _source, "transform": _transform, "sink": _sink}


def ledger(client: redis.Redis) -> list[int]:
    """Return what came out."""
    return [int(item) for item in client.lrange("plain:ledger", 0, -1) if item != END]


def order_of(role: str, url: str, total: int, report: str) -> Order:
    """Return the order for one loop."""
    return msgspec.convert(
        {
            "role": role,
            "replica": 0,
            "epoch": 0,
            "url": url,
            "namespace": "",
            "redis_id": "",
            "report": report,
            "total": total,
            "burst": 0,
            "seed": 0,
            "sums": False,
            "ledger": True,
            "max_in_flight": 0,
            "limit": None,
            "gate": "",
        },
        Order,
    )
