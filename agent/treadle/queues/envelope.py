"""The entry of a queue's stream: fields `n` (count) and `d`, a MessagePack array of n items `[payload, headers|nil]`.

Items arrive encoded and are joined, never encoded twice. An entry's id is `<number of its first message>-1`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

MAX_ENTRY_MESSAGES = 1000
MAX_ENTRY_BYTES = 256 * 1024

_NUMBERS = tuple(b"%d" % n for n in range(MAX_ENTRY_MESSAGES + 1))


class Entry(NamedTuple):
    """One stream entry as read: the messages first .. first + count - 1."""

    first: int
    size: int
    data: bytes

    @property
    def end(self) -> int:
        """The number after its last message."""
        return self.first + self.size


def array(items: Sequence[bytes]) -> bytes:
    """Join encoded items to one MessagePack array."""
    n = len(items)
    head = bytes((0x90 | n,)) if n < 16 else b"\xdc" + n.to_bytes(2, "big")
    return head + b"".join(items)


def entries(items: Sequence[bytes], size: int) -> list[bytes]:
    """Pack items of `size` bytes in all into entries: count, data, count, data, ..."""
    if len(items) <= MAX_ENTRY_MESSAGES and size <= MAX_ENTRY_BYTES:
        return [_NUMBERS[len(items)], array(items)]
    packed: list[bytes] = []
    ends = list(accumulate(map(len, items)))
    start, before = 0, 0
    while start < len(items):
        end = bisect_right(ends, before + MAX_ENTRY_BYTES, start, min(len(items), start + MAX_ENTRY_MESSAGES))
        end = max(end, start + 1)
        packed += (_NUMBERS[end - start], array(items[start:end]))
        start, before = end, ends[end - 1]
    return packed


def parse(raw: list[Any]) -> Entry | None:
    """Read one entry of an XREAD or XRANGE answer; None when treadle did not write it."""
    ident, fields = raw
    first, _, second = ident.partition(b"-")
    if second != b"1" or not fields or len(fields) != 4 or fields[0] != b"n" or fields[2] != b"d":
        return None
    if not fields[1].isdigit() or len(fields[1]) > 4 or not 0 < int(fields[1]) <= MAX_ENTRY_MESSAGES:
        return None
    return Entry(int(first), int(fields[1]), fields[3])
