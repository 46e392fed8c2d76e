"""The commit pipeline of one loop: decides what is sent when. Pure: no I/O, the clock is handed in.

    append --> waiting --due()--> flying --answered(OK)--> committed
                  ^                 |  disconnected(): the identical bytes are due again
                  |                 |  answered(FULL): sent once  -> back to waiting, cut to the room
                  +-----------------+                  sent twice -> a new inc first (want_inc, refenced)

At most one commit of a loop is under way. With nothing in flight what waits goes at once; else it gathers.
A sequence number gets other content only when the refused bytes were sent exactly once: otherwise a copy may
still be under way, and a new inc fences it first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from treadle.errors import TenureLost
from treadle.queues.answers import Remedy, remedy
from treadle.queues.envelope import MAX_ENTRY_BYTES, pack
from treadle.queues.group import Contents, Iteration, Ranges, Writer, arguments, fit
from treadle.queues.plain import Plain, Short, size
from treadle.queues.stencil import Stencil

MAX_ITERATIONS = 2000
MAX_BYTES = 1024 * 1024
BACKOFF_S = (0.1, 1.0)
FULL_LOOK_S = 5.0  # a ring for room that got lost costs no more than this

_SIZE = itemgetter(5)  # of an iteration
_UNBOUNDED = (-1, -1)
_NONE: frozenset[str] = frozenset()

_LOST = {
    b"FENCED": ("fenced", "Another instance of the loop has taken over."),
    b"CONFLICT": ("conflict", "The same sequence number was committed with other content."),
    b"GAP": ("gap", "The server has lost writes: it knows fewer commits than this loop has made."),
    b"SHIFTED": ("shifted", "A queue was purged or scaled under this loop."),
    b"BAD_TYPE": ("bad-type", "A key of the queues holds something else."),
    b"DLQ_FULL": ("dlq-full", "The dead letters of a queue are full."),
}


class Group(NamedTuple):
    """Iterations that commit together, what they touch, and the bytes that they push."""

    iterations: Sequence[Short]
    contents: Contents
    size: int


class Commit:
    """One group on its way: its bytes never change."""

    __slots__ = ("counted", "iterations", "nonce", "on_wire", "payload", "ranges", "sends", "seq", "size")

    def __init__(self, seq: int, nonce: bytes, iterations: Sequence[Short], ranges: Ranges, size: int) -> None:
        self.seq = seq
        self.nonce = nonce
        self.iterations = iterations
        self.counted = len(iterations)
        self.size = size
        self.ranges = ranges
        self.payload = b""
        self.sends = 0
        self.on_wire = False  # sent on the connection of now, not answered yet


class Pipeline:
    """See the module. `waiting` may be appended to from another thread; all else is one thread's."""

    __slots__ = (
        "_backoff_s",
        "_built",
        "_epoch",
        "_nonce_root",
        "_rang",
        "_rooms",
        "_seq",
        "_stencil",
        "_weigh",
        "_writer",
        "astray",
        "blocked",
        "blocked_from",
        "blocked_on",
        "blocked_s",
        "flying",
        "full_on",
        "inc",
        "lost",
        "not_before",
        "plain",
        "trouble",
        "waiting",
        "want_inc",
    )

    def __init__(
        self,
        writer: Writer,
        fence: tuple[int, int, int],
        nonce_root: str,
        weigh: Callable[[str, int, int], int],
    ) -> None:
        self.waiting: list[Short] = []
        self.plain = Plain()
        self.flying: Commit | None = None
        self.lost: TenureLost | None = None
        self.want_inc = False
        self.astray = False  # this is no longer the right server
        self.full_on: str | None = None  # the queue whose room is waited for
        self.not_before = 0.0
        self.trouble: str | None = None
        self.blocked_on = ""  # the queue that had no room the last time
        self.blocked_s = 0.0  # all the time from a refusal for want of room to the next commit
        self.blocked: dict[str, float] = {}  # the same by queue
        self.blocked_from: float | None = None  # since then now
        self._writer = writer
        self._epoch, self.inc, self._seq = fence
        self._nonce_root = nonce_root
        self._built = 0
        self._stencil: Stencil | None = None  # made with the first plain commit
        self._weigh = weigh
        self._rooms: dict[str, tuple[int, int]] = {}
        self._rang: frozenset[str] = _NONE  # rings for room since the last sending
        self._backoff_s = BACKOFF_S[0]

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing flies."""
        return self.flying is None and not self.waiting

    def due(self, now: float) -> Commit | None:
        """Return what is to be sent now, None when nothing is. Call again after every event and at `not_before`."""
        if self.lost or self.want_inc or now < self.not_before:
            return None
        commit = self.flying
        if commit is None:
            if not self.waiting:
                return None
            commit = self.flying = self._build()
        elif commit.on_wire:
            return None
        commit.on_wire = True
        commit.sends += 1
        if self._rang:
            self._rang = _NONE
        return commit

    def disconnected(self) -> None:
        """Take note that the connection is gone: whether what flies was done is not known."""
        self.astray = False
        if self.flying is not None:
            self.flying.on_wire = False

    def answered(self, answer: Any, now: float) -> Commit | None:
        """Take the answer to what flies. Returns the commit when it is done, for good."""
        commit = self.flying
        if commit is None:
            return None
        commit.on_wire = False
        if not isinstance(answer, list):
            self._failed(str(answer), now)
            return None
        match answer[0]:
            case b"OK" | b"DUPLICATE":
                if self.blocked_from is not None:
                    self._count_blocked(now - self.blocked_from)
                    self.blocked_from = None
                self._done(answer)
                return commit
            case b"FULL":
                self._full(commit, answer, now)
            case b"FENCED" if _forgot(answer, self._epoch, self.inc):
                self._lose(*_LOST[b"GAP"], answer[1:])
            case code:
                reason, sentence = _LOST.get(code, ("conflict", "The queues gave an answer that is not known."))
                self._lose(reason, sentence, answer[1:])
        return None

    def refenced(self, inc: int, seq: int, nonce: bytes, now: float) -> Commit | None:
        """Take the new inc that fences every copy under way. Returns the commit if it turns out to be done."""
        self.want_inc = False
        self.inc = inc
        commit = self.flying
        if commit is None:
            return None
        if seq == commit.seq and nonce == commit.nonce:
            self._done([b"DUPLICATE"])
            return commit
        self._take_back(commit)
        self.not_before = now
        return None

    def room(self, queue: str) -> bool:
        """Take a ring for room; True when this loop waits for it. The next group finds out how much there is."""
        if self.full_on != queue:
            # The ring travels on another connection: it may be here before the refusal that asked for it.
            self._rang |= {queue}
            return False
        self._rooms[queue] = (1, 1)
        self.full_on = None
        self.not_before = 0.0
        return True

    def look_again(self) -> bool:
        """Take note that rings for room may have been missed; True when this loop waits for one."""
        if self.full_on is not None:
            return self.room(self.full_on)
        self._rang |= frozenset(self._writer.closes)
        return False

    def _build(self) -> Commit:
        self.full_on = None
        self._built += 1
        seq, nonce = self._seq + 1, f"{self._nonce_root}{self._built}".encode()
        if len(self.waiting) == 1:
            commit = self._build_one(seq, nonce, self.waiting[0])
            if commit is not None:
                return commit
        group = self._take()
        commit = Commit(seq, nonce, group.iterations, group.contents.ranges, group.size)
        commit.counted -= int(group.contents.completes)
        commit.payload = self._fill_in(seq, nonce, group) or self._pack(seq, nonce, group)
        return commit

    def _build_one(self, seq: int, nonce: bytes, short: Short) -> Commit | None:
        """Build what most commits of a loop are that waits for most of its time; None when it is something else."""
        plain = self.plain.one(short)
        if plain is None:
            return None
        read, item = plain
        size, ranges, freed = 0, Ranges(), 0
        if item is not None:
            size = len(item)
            room, room_bytes = self._rooms.get(self.plain.pushes, _UNBOUNDED)
            if size > MAX_ENTRY_BYTES or room == 0 or 0 <= room_bytes < size:
                return None
        if read:
            queue = self.plain.reads
            ranges[queue] = [read, read]
            freed = self._weigh(queue, read, read)
        del self.waiting[:1]
        commit = Commit(seq, nonce, [short], ranges, size)
        commit.payload = self._plain_stencil().fill_in_one(self.inc, seq, nonce, read, freed, item)
        return commit

    def _plain_stencil(self) -> Stencil:
        if self._stencil is None:
            self._stencil = Stencil(self._writer, self._epoch, *self.plain)
        return self._stencil

    def _fill_in(self, seq: int, nonce: bytes, group: Group) -> bytes | None:
        contents, freed = group.contents, 0
        if contents.size is None:
            return None
        for queue, span in contents.ranges.items():
            freed = self._weigh(queue, span[0], span[1])
        return self._plain_stencil().fill_in(self.inc, seq, nonce, len(group.iterations), contents, freed)

    def _pack(self, seq: int, nonce: bytes, group: Group) -> bytes:
        fence = (self._epoch, self.inc, seq, nonce)
        return pack(arguments(self._writer, fence, group.iterations, group.contents, self._weigh))

    def _take(self) -> Group:
        # Each line is one step for the interpreter: the loop appends at the end meanwhile.
        taken = self.waiting[:MAX_ITERATIONS]
        del self.waiting[: len(taken)]
        return self._take_plain(taken) or self._take_whole(self.plain.whole(taken))

    def _take_plain(self, taken: list[Short]) -> Group | None:
        contents = self.plain.contents(taken)
        if contents is None:
            return None
        pushed = size(contents)
        if pushed > MAX_BYTES or (self._rooms and self._crowded(contents)):
            return None
        return Group(taken, contents, pushed)

    def _take_whole(self, taken: list[Iteration]) -> Group:
        sizes = list(accumulate(map(_SIZE, taken)))
        if sizes[-1] > MAX_BYTES:
            taken = self._keep(taken, max(1, bisect_right(sizes, MAX_BYTES)))
        contents = Contents(taken)
        if self._rooms and self._crowded(contents):
            taken = self._keep(taken, fit(taken, self._rooms))
            contents = Contents(taken)
        return Group(taken, contents, sizes[len(taken) - 1])

    def _keep(self, group: list[Iteration], count: int) -> list[Iteration]:
        self.waiting[:0] = group[count:]
        return group[:count]

    def _crowded(self, contents: Contents) -> bool:
        for queue, items in contents.pushes.items():
            messages, size = self._rooms.get(queue, _UNBOUNDED)
            if 0 <= messages < len(items) or (size >= 0 and size < sum(map(len, items))):
                return True
        return False

    def _done(self, answer: Sequence[Any]) -> None:
        self._seq += 1
        self.flying = None
        self.trouble = None
        self._backoff_s = BACKOFF_S[0]
        for room in answer[2:]:
            self._rooms[room[0].decode()] = (room[1], room[2])

    def _full(self, commit: Commit, answer: Sequence[Any], now: float) -> None:
        queue, messages, size = answer[1].decode(), answer[2], answer[3]
        self._rooms[queue] = (messages, size)
        if queue in self._rang:
            self._rooms[queue] = (1, 1)
        elif messages == 0 or size == 0:
            if self.blocked_from is not None and queue != self.blocked_on:
                self._count_blocked(now - self.blocked_from)
                self.blocked_from = None
            self.full_on = self.blocked_on = queue
            if self.blocked_from is None:
                self.blocked_from = now
            self.not_before = now + FULL_LOOK_S
        if commit.sends > 1:
            self.want_inc = True
        else:
            self._take_back(commit)

    def _count_blocked(self, seconds: float) -> None:
        self.blocked_s += seconds
        self.blocked[self.blocked_on] = self.blocked.get(self.blocked_on, 0.0) + seconds

    def _take_back(self, commit: Commit) -> None:
        self.flying = None
        self.waiting[:0] = commit.iterations

    def _failed(self, error: str, now: float) -> None:
        self.trouble = error
        match remedy(error):
            case Remedy.OUT_OF_MEMORY | Remedy.WAIT:
                self.not_before = now + self._backoff_s
                self._backoff_s = min(BACKOFF_S[1], self._backoff_s * 2)
            case Remedy.RELOCATE:
                self.astray = True
                self.not_before = now + BACKOFF_S[0]
            case Remedy.NONE:
                self._lose("refused", f"The server refused the commit: {error}", [])

    def _lose(self, reason: str, sentence: str, details: Sequence[Any]) -> None:
        facts = [d.decode(errors="replace") if isinstance(d, bytes) else d for d in details]
        self.lost = TenureLost(sentence, reason=reason, loop=self._writer.loop, answer=facts)


def _forgot(answer: Sequence[Any], epoch: int, inc: int) -> bool:
    """Whether a loop is fenced because the server has forgotten its epoch or inc, not because there is a newer one."""
    stored = answer[1:3]
    return all(isinstance(each, int) for each in stored) and (0, 0) < tuple(stored) < (epoch, inc)
