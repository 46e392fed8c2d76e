"""What the queues are measured against, on the same server in the same run: redis-py by hand, and redis-benchmark."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis

VALUE = "v" * 190
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


def push_one_by_one(url: str, seconds: float, pipe: Connection) -> None:
    """XADD messages one by one for a while."""
    client: Any = redis.Redis.from_url(url)
    pipe.send("ready")
    pipe.recv()
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        client.xadd("peer", {"d": _pack({"n": n, "text": VALUE})})
        n += 1
    client.xadd("peer", {"d": _pack({"n": -1})})
    pipe.send({"done": time.monotonic(), "count": n})


def pop_one_by_one(url: str, pipe: Connection) -> None:
    """Read, acknowledge and delete messages one by one, until the last."""
    client: Any = redis.Redis.from_url(url)
    client.xgroup_create("peer", "g", "0", mkstream=True)
    pipe.send("ready")
    pipe.recv()
    count = 0
    while True:
        found = client.xreadgroup("g", "c", {"peer": ">"}, count=1, block=2000)
        if not found:
            continue
        ident, fields = found[0][1][0]
        message = _unpack(fields[b"d"])
        client.xack("peer", "g", ident)
        client.xdel("peer", ident)
        if message["n"] < 0:
            break
        count += 1
    client.delete("peer")
    pipe.send({"done": time.monotonic(), "count": count})


def lpush_at(url: str, rate: float, count: int, pipe: Connection) -> None:
    """LPUSH messages at a rate."""
    client: Any = redis.Redis.from_url(url)
    client.ping()
    pipe.send("ready")
    pipe.recv()
    due = time.monotonic()
    for n in range(count):
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        client.lpush("list", _pack({"n": n, "sent": time.monotonic_ns(), "text": VALUE}))
    pipe.send({"done": time.monotonic()})


def brpop(url: str, count: int, pipe: Connection) -> None:
    """BRPOP messages and note how long they took."""
    client: Any = redis.Redis.from_url(url)
    client.ping()
    pipe.send("ready")
    pipe.recv()
    delays: list[int] = []
    while len(delays) < count:
        found = client.brpop(["list"], timeout=2)
        if found:
            delays.append(time.monotonic_ns() - _unpack(found[1])["sent"])
    pipe.send({"done": time.monotonic(), "delays": delays})


def xadd_pipelined(url: str, count: int) -> float | None:
    """Return messages per second of redis-benchmark XADD, 100 in a pipeline, one connection; None without it."""
    program = shutil.which("redis-benchmark")
    if program is None:
        return None
    parts = urlsplit(url)
    command = [program, "-h", str(parts.hostname), "-p", str(parts.port), "-a", str(parts.password)]
    command += ["-n", str(count), "-c", "1", "-P", "100", "-q", "XADD", "bench-stream", "*", "d", VALUE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rates = re.findall(r"([\d.]+) requests per second", done.stdout)
    redis.Redis.from_url(url).delete("bench-stream")
    return float(rates[-1])
