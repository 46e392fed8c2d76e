"""What the blocking XREAD names: a doorbell and the queues of some readers, packed once for as long as they stay."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.queues.keys import Keys
from treadle.queues.reader import Reader
from treadle.queues.stencil import bulk, number


class Naming:
    """`readers` in their order; `by_queue` and `by_key` find them again."""

    __slots__ = ("_end", "_start", "by_key", "by_queue", "readers")

    def __init__(self, keys: Keys, bell: str, block_ms: int, readers: Sequence[Reader] = ()) -> None:
        self.readers = list(readers)
        self.by_queue = {reader.queue: reader for reader in self.readers}
        self.by_key = {keys.queue(queue).encode(): reader for queue, reader in self.by_queue.items()}
        names = (bell.encode(), *self.by_key)
        self._start = b"*%d\r\n" % (6 + 2 * len(names)) + bulk(b"XREAD") + bulk(b"COUNT")
        self._end = bulk(b"BLOCK") + number(block_ms) + bulk(b"STREAMS") + b"".join(map(bulk, names))

    def command(self, count: int, bell_id: bytes) -> bytes:
        """Return the XREAD from where the readers are now."""
        cursors = [bulk(reader.cursor) for reader in self.readers]
        return b"".join((self._start, number(count), self._end, bulk(bell_id), *cursors))
