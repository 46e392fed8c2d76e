"""One queue as one loop reads it: what has been fetched, what is under way, what was committed."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from treadle.queues.codec import decode_batch
from treadle.queues.envelope import Entry
from treadle.queues.tenure import Batch

if TYPE_CHECKING:
    from treadle.queues.redis_tenure import RedisTenure

HIGH_BYTES = 4 * 1024 * 1024  # a buffer with more asks for no more
LOW_BYTES = 1024 * 1024  # and asks again below this
HIGH_ENTRIES = 4096
QUICK_S = 0.02  # who works off a claimed range in this time claims the next one ahead


# An empty deque has 624 bytes, which an idle loop would have three times: all share these until something comes.
_NO_SPANS: deque[tuple[int, int, int]] = deque()
_NO_ENTRIES: deque[tuple[Entry, int, int]] = deque()


class Ledger:
    """The bytes of messages that were fetched and not committed, so that a commit can say what it sets free.

    The host's thread adds and settles; the loop's own may weigh meanwhile, messages that neither of these is about.
    """

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans = _NO_SPANS  # first, count, bytes

    def add(self, first: int, count: int, size: int) -> None:
        """Take in the messages first .. first + count - 1."""
        if self._spans is _NO_SPANS:
            self._spans = deque()
        self._spans.append((first, count, size))

    def weigh(self, first: int, last: int) -> int:
        """Return the bytes of a range; an entry's are spread evenly, and exact over all of its messages."""
        while True:
            try:
                return self._weigh(first, last)
            except RuntimeError:  # the deque has changed meanwhile: at one of its ends, where we are not
                continue

    def _weigh(self, first: int, last: int) -> int:
        total = 0
        for begin, count, size in self._spans:
            if begin > last:
                break
            low, high = max(first, begin) - begin, min(last + 1, begin + count) - begin
            if low < high:
                total += size * high // count - size * low // count
        return total

    def settle(self, last: int) -> None:
        """Forget everything up to a number that was committed."""
        spans = self._spans
        while spans and spans[0][0] + spans[0][1] - 1 <= last:
            spans.popleft()


class Reader:
    """See the module. `poll`, `give_back` are the loop's; all else belongs to the host's event loop."""

    __slots__ = (
        "acked",
        "at",
        "claimed",
        "claimed_at",
        "claiming",
        "counted",
        "cursor",
        "drained",
        "entries",
        "fetched",
        "final",
        "last_claim",
        "ledger",
        "never_ends",
        "parked",
        "queue",
        "rang",
        "repairing",
        "returned",
        "taken",
        "tenure",
    )

    def __init__(self, tenure: RedisTenure, queue: str, first: int, nmax: int, *, counted: bool) -> None:
        self.tenure = tenure
        self.queue = queue
        self.never_ends = False
        self.at = first  # the next number to fetch
        self.cursor = b"%d-1" % max(0, first - max(1, nmax))  # XREAD goes on after this entry
        self.acked = first - 1  # the last committed number
        self.entries = _NO_ENTRIES  # entry, and which of its messages
        self.returned: list[Batch] = []  # the last one is the next
        self.fetched = 0  # bytes: two counters, each written by one thread only
        self.taken = 0
        self.parked = False  # full: the loop asks when it has made room
        self.ledger = Ledger()
        self.final: int | None = None  # the tail, once no writer is left
        self.drained = False  # the server saw the queue empty after its last writer
        self.repairing = False
        self.counted = counted
        self.claiming = False
        self.rang = False  # while a claim was under way
        self.claimed = 0  # messages claimed and not committed
        self.claimed_at = 0.0
        self.last_claim = 0  # the end of the last range that is known

    @property
    def buffered(self) -> int:
        """Bytes that were fetched and not polled."""
        return self.fetched - self.taken

    @property
    def full(self) -> bool:
        """Whether nothing more should be fetched."""
        return self.buffered >= HIGH_BYTES or len(self.entries) >= HIGH_ENTRIES

    def accept(self, entry: Entry) -> bool:
        """Take in an entry that was read; False when all of it was known before."""
        self.cursor = b"%d-1" % entry.first
        end = entry.end
        if end <= self.at:
            return False
        skip = max(0, self.at - entry.first)
        self._buffer(entry, skip, entry.size)
        self.at = end
        return True

    def accept_range(self, first: int, last: int, entries: list[Entry]) -> bool:
        """Take in a claimed range; False when its entries don't hold all of it."""
        want = first
        for entry in entries:
            low, high = max(first, entry.first), min(last + 1, entry.end)
            if low >= high:
                continue
            if low != want:
                return False
            self._buffer(entry, low - entry.first, high - entry.first)
            want = high
        self.last_claim = last
        self.claimed_at = time.monotonic()
        self.claimed += last - first + 1
        return want == last + 1

    def _buffer(self, entry: Entry, low: int, high: int) -> None:
        size = len(entry.data) - (1 if entry.size < 16 else 3)
        share = size * high // entry.size - size * low // entry.size
        self.ledger.add(entry.first + low, high - low, share)
        if self.entries is _NO_ENTRIES:
            self.entries = deque()
        self.entries.append((entry, low, high))
        self.fetched += len(entry.data)

    def poll(self) -> Batch | None:
        """Take the next batch, None when there is none."""
        if self.returned:
            return self.returned.pop()
        try:
            entry, low, high = self.entries.popleft()
        except IndexError:
            return None
        self.taken += len(entry.data)
        items = decode_batch(entry.data, entry.size)
        if high - low != entry.size:
            items = items[low:high]
        return Batch(self.queue, entry.first + low, items)

    @property
    def low(self) -> bool:
        """Whether it is time to fetch more although something is still here."""
        if self.counted:
            # A range claimed ahead is out of reach for the other slots: only who is quick may do that.
            return not self.entries and time.monotonic() - self.claimed_at < QUICK_S
        return self.buffered < LOW_BYTES and len(self.entries) < HIGH_ENTRIES // 2

    def committed(self, ranges: list[int]) -> None:
        """Take note of ranges that were committed."""
        self.acked = ranges[-1]
        self.ledger.settle(self.acked)
        for i in range(0, len(ranges), 2):
            self.claimed -= ranges[i + 1] - ranges[i] + 1

    def learn(self, tail: int, *, writers_gone: bool, drained: bool) -> None:
        """Take what the server said about the end of the queue."""
        self.final = tail if writers_gone else None
        self.drained = writers_gone and drained

    @property
    def ended(self) -> bool:
        """Whether nothing more will come, and nothing is under way."""
        if self.never_ends or self.final is None or self.entries or self.returned:
            return False
        if self.counted:
            return self.drained and self.claimed == 0
        return self.drained or self.acked >= self.final - 1
