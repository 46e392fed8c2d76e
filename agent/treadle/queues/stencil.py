"""Plain commits as bytes: what is the same in each of them is packed once, the rest is filled in.

A loop that is idle most of the time builds a commit with cold caches, where every step of the interpreter counts; so
this writes out what group.arguments and envelope.pack say about a plain group, to the byte.
"""

from __future__ import annotations

from typing import Final

from treadle.queues.envelope import MAX_ENTRY_BYTES, MAX_ENTRY_MESSAGES, head
from treadle.queues.group import Contents, Writer

_NO_INPUT: Final = 18  # arguments of a commit that neither reads nor pushes
_INPUT: Final = 5
_OUTPUT: Final = 8


def bulk(raw: bytes) -> bytes:
    """Return bytes as an argument of a command."""
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def number(value: int) -> bytes:
    """Return a number as an argument of a command."""
    raw = b"%d" % value
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


_NONE: Final = number(0)
_ONE: Final = number(1)
_NOTHING_PUSHED: Final = _NONE * 4
_ONE_ENTRY: Final = _ONE * 2


class Stencil:
    """The plain commits of one writer under one epoch."""

    __slots__ = ("_acknowledge", "_commit", "_host", "_pushes", "_reads", "_start", "_started")

    def __init__(self, writer: Writer, epoch: int, reads: str, pushes: str) -> None:
        key = f"{writer.prefix}l:{writer.loop}"
        names = b"".join(bulk(name.encode()) for name in (key, writer.prefix, writer.loop))
        who = _ONE + names + number(epoch)
        self._commit = bulk(b"FCALL") + bulk(b"treadle_commit") + who
        self._acknowledge = bulk(b"FCALL") + bulk(b"treadle_acknowledge") + who
        self._host = _NONE + bulk(writer.host.encode())
        self._reads = _ONE + bulk(reads.encode())
        self._pushes = _ONE + bulk(pushes.encode())
        self._started = (0, 0)  # the inc and the number of arguments that the start below is for
        self._start = b""

    def fill_in(
        self, inc: int, seq: int, nonce: bytes, iterations: int, contents: Contents, freed: int
    ) -> bytes | None:
        """Return a commit; None when the contents are not of the usual kind. `freed` are the bytes of what was read."""
        size, last = contents.size, contents.last_push
        if size is None or size > MAX_ENTRY_BYTES or iterations > MAX_ENTRY_MESSAGES:
            return None
        fence = b"%b%b%b%b" % (number(inc), number(seq), bulk(nonce), number(iterations))
        count, reads = _NO_INPUT, _NONE
        for span in contents.ranges.values():
            if len(span) > 2:
                return None
            count += _INPUT
            reads = b"%b%b%b%b%b" % (self._reads, number(freed), _ONE, number(span[0]), number(span[1]))
        if last is None:
            return b"*%d\r\n%b%b%b%b%b" % (count, self._acknowledge, fence, self._host, reads, _NONE * 4)
        (items,) = contents.pushes.values()
        messages, array = number(len(items)), head(len(items))
        out = b"*%d\r\n%b%b%b%b%b%b%b%b%b%b%b%b$%d\r\n%b" % (
            *(count + _OUTPUT, self._commit, fence, self._host, reads, _NONE),
            *(self._pushes, messages, number(size), number(last[0]), number(last[1]), _ONE, messages),
            *(len(array) + size, array),
        )
        return b"".join((out, *items, b"\r\n", _NONE, _NONE))

    def fill_in_one(self, inc: int, seq: int, nonce: bytes, read: int, freed: int, item: bytes | None) -> bytes:
        """Return the commit of one iteration: the number that it read (0: none), and what it pushed (None: nothing)."""
        count, reads = _NO_INPUT, _NONE
        if read:
            at = number(read)
            count += _INPUT
            reads = b"%b%b%b%b%b" % (self._reads, number(freed), _ONE, at, at)
        if item is not None:
            count += _OUTPUT
        if self._started != (inc, count):
            self._begin(inc, count, self._acknowledge if item is None else self._commit)
        sent = b"%d" % seq
        fence = b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (self._start, len(sent), sent, len(nonce), nonce)
        if item is None:
            return b"%b%b%b%b%b" % (fence, _ONE, self._host, reads, _NOTHING_PUSHED)
        size = len(item)
        weight = number(size)
        return b"%b%b%b%b%b%b%b%b%b%b%b$%d\r\n\x91%b\r\n%b%b" % (
            *(fence, _ONE, self._host, reads, _NONE, self._pushes, _ONE, weight, _ONE, weight, _ONE_ENTRY),
            *(size + 1, item, _NONE, _NONE),
        )

    def _begin(self, inc: int, count: int, call: bytes) -> None:
        self._started = inc, count
        self._start = b"*%d\r\n%b%b" % (count, call, number(inc))
