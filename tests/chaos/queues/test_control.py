"""The control: the same kills and pauses without transactions show thousands of doubled messages."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis

from tests.chaos.queues.cast import Process
from tests.chaos.queues.flow import ROLES
from tests.chaos.queues.nursery import Nursery
from tests.chaos.queues.plain import ledger, order_of
from tests.servers import redis_server

TOTAL = 20_000
TAKEOVERS = 12


def test_without_transactions_thousands_are_doubled(
    seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(seed)
    nursery = Nursery(tmp_path, live="tests.chaos.queues.plain:live")
    with redis_server("valkey") as server, redis.Redis.from_url(server.url) as client:
        try:
            doubled = _play(nursery, client, server.url, rng, tmp_path)
        finally:
            nursery.close()
    record_property("control", doubled)
    assert doubled > 1000


def _play(nursery: Nursery, client: redis.Redis, url: str, rng: random.Random, folder: Path) -> int:
    born: list[Process] = []
    zombies: list[Process] = []

    def spawn(role: str) -> Process:
        report = folder / f"report-{len(born)}.json"
        born.append(Process(nursery.bear(order_of(role, url, TOTAL, str(report))), report))
        return born[-1]

    cast = {role: spawn(role) for role in ROLES}
    due = [TOTAL * at // (TAKEOVERS + 2) for at in range(1, TAKEOVERS + 1)]
    deadline = time.monotonic() + 60.0
    while not all(process.report() for process in cast.values()):
        assert time.monotonic() < deadline
        if due and client.llen("plain:ledger") >= due[0]:
            due.pop(0)
            role = rng.choice(ROLES)
            if rng.random() < 0.5:
                cast[role].kill()
            else:
                cast[role].pause()
                zombies.append(cast[role])
            cast[role] = spawn(role)
        elif zombies:
            zombies.pop().resume()
        time.sleep(0.005)
    seen = Counter(ledger(client))
    for process in born:
        process.forget()
    return sum(seen.values()) - len(seen)
