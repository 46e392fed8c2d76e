"""Streams by hand with redis-py: a thousand XADD in a pipeline, a thousand read and acknowledged at a time."""

from __future__ import annotations

import contextlib

import msgspec
import redis
from note import URL, VISIBILITY_S, main, message, note

AT_ONCE = 1000
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


def produce(count: int) -> None:
    """Send."""
    client = redis.Redis.from_url(URL)
    for start in range(0, count, AT_ONCE):
        pipe = client.pipeline(transaction=False)
        for n in range(start, min(count, start + AT_ONCE)):
            pipe.xadd("peer", {"d": _pack(message(n))})
        pipe.execute()


def work() -> None:
    """Handle; what another worker has not acknowledged in time is taken over."""
    client = redis.Redis.from_url(URL)
    with contextlib.suppress(redis.ResponseError):
        client.xgroup_create("peer", "g", "0", mkstream=True)
    while True:
        found = client.xreadgroup("g", "c", {"peer": ">"}, count=AT_ONCE, block=1000)
        entries = found[0][1] if found else client.xautoclaim("peer", "g", "c", VISIBILITY_S * 1000, count=AT_ONCE)[1]
        if not entries:
            continue
        for _, fields in entries:
            note(_unpack(fields[b"d"])["n"])
        names = [name for name, _ in entries]
        pipe = client.pipeline(transaction=False)
        pipe.xack("peer", "g", *names)
        pipe.xdel("peer", *names)
        pipe.execute()


if __name__ == "__main__":
    main(produce, work)
