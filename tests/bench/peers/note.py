"""What the Python peers share: their message, where they note what they have handled, and their two programs.

    python peer_x.py work            handle messages until killed
    python peer_x.py produce COUNT   say "ready", wait for a line, send, say "done"

PEER_URL is the server. With PEER_NOTES a handler writes each number to that file, eight bytes each: nearly nothing,
and it survives a kill. Without it the handler moves the number on to the list `out`, as a loop moves a message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

URL = os.environ["PEER_URL"]
FIRST = int(os.environ.get("PEER_FIRST", "0"))  # number of the producer's first message
VISIBILITY_S = 5  # after which an unacknowledged message is another worker's


def message(n: int) -> dict[str, object]:
    """Return the n-th message of this producer: 200 bytes."""
    return {"n": FIRST + n, "name": "x" * 60, "value": 1.5, "sent": 1_700_000_000_000_000_000, "text": "y" * 84}


def _noting() -> Callable[[int], object]:
    path = os.environ.get("PEER_NOTES")
    if path is not None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return lambda n: os.write(file, n.to_bytes(8, "big"))
    import redis

    client = redis.Redis.from_url(URL)
    return lambda n: client.rpush("out", n)


note = _noting()


def main(produce: Callable[[int], None], work: Callable[[], None]) -> None:
    """Be one of the two programs."""
    if sys.argv[1] == "work":
        work()
        return
    count = int(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    produce(count)
    print("done", flush=True)
