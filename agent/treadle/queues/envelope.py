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


class Joined(NamedTuple):
    """An argument in parts: they are joined once, when the whole command is."""

    size: int
    parts: list[bytes]

    def whole(self) -> bytes:
        """Return it in one piece."""
        return b"".join(self.parts)


def head(count: int) -> bytes:
    """Return the head of a MessagePack array."""
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def array(items: Sequence[bytes], size: int) -> Joined:
    """Make encoded items of `size` bytes in all one MessagePack array."""
    first = head(len(items))
    return Joined(len(first) + size, [first, *items])


def entries(items: Sequence[bytes], size: int) -> list[tuple[bytes, Joined]]:
    """Pack items of `size` bytes in all into entries: count and data of each."""
    if len(items) <= MAX_ENTRY_MESSAGES and size <= MAX_ENTRY_BYTES:
        return [(_NUMBERS[len(items)], array(items, size))]
    packed: list[tuple[bytes, Joined]] = []
    ends = list(accumulate(map(len, items)))
    start, before = 0, 0
    while start < len(items):
        end = bisect_right(ends, before + MAX_ENTRY_BYTES, start, min(len(items), start + MAX_ENTRY_MESSAGES))
        end = max(end, start + 1)
        packed.append((_NUMBERS[end - start], array(items[start:end], ends[end - 1] - before)))
        start, before = end, ends[end - 1]
    return packed


def pack(args: Sequence[str | bytes | int | Joined]) -> bytes:
    """Return a command as it goes over the wire.

    For commits: hiredis copies a large argument several times, which costs more than all else that they need.
    """
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, Joined):
            out.append(b"$%d\r\n" % arg.size)
            out += arg.parts
            out.append(b"\r\n")
            continue
        raw = arg if isinstance(arg, bytes) else str(arg).encode()
        out += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(out)


def parse(raw: list[Any]) -> Entry | None:
    """Read one entry of an XREAD or XRANGE answer; None when treadle did not write it."""
    ident, fields = raw
    first, _, second = ident.partition(b"-")
    if second != b"1" or not fields or len(fields) != 4 or fields[0] != b"n" or fields[2] != b"d":
        return None
    if not fields[1].isdigit() or len(fields[1]) > 4 or not 0 < int(fields[1]) <= MAX_ENTRY_MESSAGES:
        return None
    return Entry(int(first), int(fields[1]), fields[3])
