"""Reads a whole queue, straight from Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import redis

from treadle.queues import envelope
from treadle.queues.codec import decode_batch
from treadle.queues.keys import Keys

_PAGE: Final = 5_000


def payloads(url: str, queue: str, namespace: str = "default") -> Iterator[dict[str, Any]]:
    """Yield the payloads of all messages that wait in a queue, in order."""
    after = "-"
    with redis.Redis.from_url(url) as client:
        reading: Any = client
        while found := reading.xrange(Keys(namespace).queue(queue), after, "+", _PAGE):
            for ident, fields in found:
                entry = envelope.parse([ident, [part for pair in fields.items() for part in pair]])
                for item in decode_batch(entry.data, entry.size) if entry is not None else ():
                    payload = item[0]
                    if not isinstance(payload, dict):
                        raise TypeError(f"{queue} holds something else than payloads: {payload!r}")
                    yield payload
            after = f"({found[-1][0].decode()}"
