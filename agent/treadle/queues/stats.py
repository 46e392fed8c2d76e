"""Figures and samples of queues, as the controller shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

RECORD_FIELDS = ("next", "tail", "held", "bytes", "done", "dropped", "dead", "mark_n", "mark_t", "slots", "mode")


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The figures of one queue."""

    depth: int  # messages in it, claimed ones included
    bytes: int
    claimed: int
    oldest_age_s: float | None  # how long the oldest message has been waiting at least; None when not known
    pushed: int
    committed: int
    dead: int
    dropped: int
    slots: int


class Peeked(NamedTuple):
    """One waiting message: its number and its item `[payload, headers | None]`, or a BadItem."""

    number: int
    item: Any


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """One dead letter."""

    id: str
    number: int
    item: bytes
    reason: dict[str, Any]
    iteration: str

    @classmethod
    def read(cls, ident: bytes, fields: Mapping[bytes, bytes] | Sequence[bytes]) -> DeadLetterEntry:
        """Read it from an XRANGE answer."""
        pairs = fields if isinstance(fields, Mapping) else dict(zip(fields[::2], fields[1::2], strict=True))
        try:
            reason = json.loads(pairs.get(b"r", b"{}"))
        except ValueError:
            reason = {"error": "unreadable"}
        number, item = int(pairs.get(b"n", b"0")), pairs.get(b"i", b"")
        return cls(ident.decode(), number, item, reason, pairs.get(b"k", b"").decode())


def read_stats(record: Sequence[bytes | None], now_ms: float) -> QueueStats:
    """Make figures of the RECORD_FIELDS of a queue's record."""
    first, tail, held, size, done, dropped, dead, mark_n, mark_t = (int(v or 0) for v in record[:9])
    first, tail = first or 1, tail or 1
    depth = tail - first + held
    # The marked message was pushed at mark_t; while it is here, the oldest is at least as old.
    marked = depth > 0 and mark_n > 0 and first <= mark_n < tail
    age = max(0.0, (now_ms - mark_t) / 1000) if marked else None
    return QueueStats(depth, size, held, age, tail - 1, done, dead, dropped, int(record[9] or 1))
