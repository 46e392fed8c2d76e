"""Messages to a program in another language, over gRPC and TLS, and through it to another queue.

A program in JavaScript, a controller and a server of queues on the same machine; messages of 200 bytes in batches
of 1,000, a commit for each batch. Against the same server in the same run: redis-py with a consumer group, 1,000 at
a time, at least once.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import redis

from tests.acceptance.clients import npm
from tests.acceptance.clients.secured_cluster import SecuredCluster, secured_cluster
from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import encode_item

_BATCH = 1_000
_PAYLOAD = {"n": 0, "text": "x" * 180}


def fill(url: str, queue: str, count: int) -> None:
    """Push messages."""

    async def push() -> None:
        items = [encode_item(_PAYLOAD)] * _BATCH
        async with QueueAdmin(url, "default") as admin:
            for _ in range(count // _BATCH):
                await admin.push(queue, items)

    asyncio.run(push())


def consume(cluster: SecuredCluster, source: str, target: str, count: int) -> float:
    """Return messages per second of the program."""
    fill(cluster.controller.redis_url, source, count)
    more = {"FROM": source, "TO": target, "COUNT": str(count)}
    done = subprocess.run(
        ["node", "bench.js"],
        cwd=npm.NODE,
        env=npm.environment({**cluster.environment(), **more}),
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(done.stdout)
    return float(found["done"] / found["seconds"])


def by_hand(url: str, count: int) -> float:
    """Return messages per second of redis-py: read, decode, acknowledge and delete, a batch at a time."""
    payload = msgspec.msgpack.encode(_PAYLOAD)
    with redis.Redis.from_url(url) as client:
        client.xgroup_create("peer", "group", "0", mkstream=True)
        for _ in range(count // _BATCH):
            pipe = client.pipeline(transaction=False)
            for _ in range(_BATCH):
                pipe.xadd("peer", {"d": payload})
            pipe.execute()
        began = time.perf_counter()
        for _ in range(count // _BATCH):
            read: Any = client.xreadgroup("group", "one", {"peer": ">"}, count=_BATCH)
            ids = [ident for ident, fields in read[0][1] if msgspec.msgpack.decode(fields[b"d"])]
            pipe = client.pipeline(transaction=False)
            pipe.xack("peer", "group", *ids)
            pipe.xdel("peer", *ids)
            pipe.execute()
        return count / (time.perf_counter() - began)


def main(*, quick: bool) -> dict[str, Any]:
    """Run it."""
    npm_path = shutil.which("npm")
    problem = npm.install(npm_path) if npm_path else "npm is missing (Debian: nodejs, npm)"
    if problem is not None:
        raise SystemExit(f"bench: {problem}")
    count, rounds = (100_000, 2) if quick else (400_000, 3)
    with tempfile.TemporaryDirectory() as folder, secured_cluster(Path(folder)) as cluster:
        names = [f"{kind}-{n}" for n in range(rounds) for kind in ("taken", "from", "to")]
        cluster.apply_queues("bench", names)
        taken = max(consume(cluster, f"taken-{n}", "", count) for n in range(rounds))
        moved = max(consume(cluster, f"from-{n}", f"to-{n}", count) for n in range(rounds))
        peer = by_hand(cluster.controller.redis_url, count // 2)
    figures = {
        "consumed_per_s": round(taken),
        "consumed_and_pushed_on_per_s": round(moved),
        "redis_py_groups_of_1000_per_s": round(peer),
    }
    return {"bench": "consume", "ratios": {"vs_redis_py_groups": round(taken / peer, 2)}, "figures": figures}
