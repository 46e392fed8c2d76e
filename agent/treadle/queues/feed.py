"""What a host fetches for its loops: one blocking XREAD on the host's doorbell and the queues that are busy.

A reader is always in one of these places, so that nothing is ever polled:

    hot         named in the blocking XREAD; cools down after a second without a message
    registered  idle: the next push, or the end of the queue, rings the host's doorbell with the queue's name
    parked      its buffer is full; its loop asks when it has made room
    claiming    reads a queue with several slots: a range is claimed by a call of its own

Everything here runs on the host's event loop. Only the XREAD may be lent: to the thread of the host's only loop, which
is woken by its message one thread sooner then (see ear.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import hiredis

from treadle.errors import TenureLost
from treadle.queues import envelope
from treadle.queues.claims import Claims
from treadle.queues.ear import Ear
from treadle.queues.head_start import HeadStart
from treadle.queues.keys import Keys
from treadle.queues.line import Line
from treadle.queues.loan import QUIET_ROW, Loan, lend
from treadle.queues.naming import Naming
from treadle.queues.reader import Reader
from treadle.queues.wire import GONE, Wire, pack, request

HOT_S = 1.0
HOT_QUEUES = 64
BLOCK_MS = 5000
BELL_TTL_S = 60
REGISTER_AT_ONCE = 500
LOOK_AGAIN_TURNS = 40  # half a second each
_COUNT = (8, 1024)
_BYTES = (1024 * 1024, 4 * 1024 * 1024)


class Feed:
    """See the module."""

    def __init__(
        self,
        keys: Keys,
        host: str,
        url: str,
        commits: Line,
        *,
        on_room: Callable[[str], None],
        on_connected: Callable[[], None],
        lose: Callable[[Reader, TenureLost], None],
        threaded: bool = False,
    ) -> None:
        self.line = Line(url, keys.namespace, f"treadle-feed-{host}", self._greet)
        self._keys = keys
        self._host = host
        self._bell = keys.doorbell(host)
        self._bell_id = b"0-0"
        self._commits = commits
        self._on_room = on_room
        self._on_connected = on_connected
        self._lose = lose
        self._threaded = threaded  # loops are threads: they sleep while this one listens
        self._head_start = HeadStart()
        self._loops = 0  # of the host
        self._loan: Loan | None = None  # the host's only loop listens itself
        self._end: asyncio.Future[None] | None = None  # of the connection that is listened to
        self._claims = Claims(host, self._call, again=self.want, lose=lose)
        self._readers: dict[str, list[Reader]] = {}
        self._hot: dict[Reader, float] = {}
        self._asked = Naming(keys, self._bell, BLOCK_MS)
        self._blocked = False
        self._to_register: dict[Reader, None] = {}
        self._count = _COUNT[0]
        self._turn = 0
        self.wakes = 0  # answers of the blocking XREAD, for tests that look for polling

    # Readers come and go

    def add(self, reader: Reader, *, has_data: bool) -> None:
        """Begin to feed a reader."""
        self.end_loan()
        self._readers.setdefault(reader.queue, []).append(reader)
        if has_data or reader.counted:
            self.want(reader)
        if not reader.counted:
            # With data too: nobody rings for the end of a queue whose last writer has completed before.
            self._register(reader)

    def drop(self, reader: Reader) -> None:
        """Feed a reader no more."""
        self.end_loan()
        readers = self._readers.get(reader.queue, [])
        if reader in readers:
            readers.remove(reader)
        if not readers:
            self._readers.pop(reader.queue, None)
        self._hot.pop(reader, None)
        self._to_register.pop(reader, None)

    def want(self, reader: Reader) -> None:
        """See to it that a reader gets what there is."""
        if reader not in self._readers.get(reader.queue, ()):
            return
        if reader.counted:
            self._claims.claim(reader)
            return
        self.end_loan()
        if reader.full:
            self._hot.pop(reader, None)
            self._park(reader)
            return
        self._make_room_among_the_hot(reader)
        self._hot[reader] = time.monotonic()
        if self._blocked and self._asked.by_queue.get(reader.queue) is not reader:
            # The blocked XREAD can't be told of another queue, but it can be woken.
            self._call(_ignore, "treadle_bell", self._host, "")

    def _make_room_among_the_hot(self, reader: Reader) -> None:
        if len(self._hot) >= HOT_QUEUES and reader not in self._hot:
            coldest = min(self._hot, key=self._hot.__getitem__)
            del self._hot[coldest]
            self._register(coldest)

    def cool(self) -> None:
        """Register readers that had no message for a while. Call it every half second or so."""
        limit = time.monotonic() - HOT_S
        if self._loan is not None and self._loan.renew(limit):
            return
        self.end_loan()
        for reader in [r for r, seen in self._hot.items() if seen < limit]:
            del self._hot[reader]
            self._register(reader)

    # The doorbell and the busy queues

    async def _greet(self, wire: Wire) -> None:
        # Whatever rang before this entry is found by registering all readers again.
        # A function, because a server without memory refuses XADD, and consumers have to drain it.
        keys = self._keys
        answer = await request(wire, "FCALL", "treadle_bell", 1, keys.meta, keys.prefix, self._host, BELL_TTL_S)
        self._bell_id = answer[1]

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            await self.line.up.wait()
            wire = self.line.wire
            if wire is None:
                await asyncio.sleep(0.01)
                continue
            try:
                self.ask_all()
                self._on_connected()
                await self._listen(wire)
            except ConnectionError:
                await asyncio.sleep(0.01)
            except hiredis.ReplyError as exc:
                self.line.trouble = str(exc)
                wire.abort()  # the type of a key is wrong, or the server is: look again from the start
                await asyncio.sleep(0.1)
            finally:
                self.end_loan()
                self._blocked = False

    async def _listen(self, wire: Wire) -> None:
        # Only the end is awaited. What is heard is handed out in the callback, and what is asked next goes out there
        # too: a task would do either a turn of the event loop later, while the loops wait for this thread to be done.
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wire.herald = self._announce if self._threaded else None
        self._end = end
        self._ask_next(wire, end)
        await end

    def _announce(self, size: int) -> None:
        self._head_start.give(size, self._asked.readers, time.monotonic())

    def _ask_next(self, wire: Wire, end: asyncio.Future[None]) -> None:
        readers = [r for r in self._hot if not r.full and not r.repairing]
        if readers != self._asked.readers:
            self._asked = Naming(self._keys, self._bell, BLOCK_MS, readers)
        self._blocked = True
        wire.send(self._asked.command(self._count, self._bell_id), partial(self._heard, wire, end))

    def _heard(self, wire: Wire, end: asyncio.Future[None], answer: Any) -> None:
        if end.done():
            return
        self._blocked = False
        if answer is GONE:
            end.set_exception(ConnectionError("the connection was lost"))
            return
        if isinstance(answer, hiredis.ReplyError):
            end.set_exception(answer)
            return
        self.wakes += 1
        try:
            if answer:
                self._hand_out(answer, self._asked.by_key)
            if pause_s := self._head_start.taken():
                time.sleep(pause_s)  # there is nothing else to do, and the loop's thread can use the interpreter
            self._ask_next(wire, end)
            if self._loops == 1 and self._head_start.row >= QUIET_ROW and len(self._asked.readers) == 1:
                self._loan = lend(wire, self._asked, self._count, self._bell_id, self._given_back)
        except Exception as exc:  # noqa: BLE001 - raised where the end is awaited
            end.set_exception(exc)

    def count_loops(self, loops: int) -> None:
        """Take note of how many loops the host has."""
        self._loops = loops
        if loops != 1:
            self.end_loan()

    def _given_back(self, ear: Ear) -> None:
        if self._loan is not None and self._loan.ear is ear:
            self.end_loan()

    def end_loan(self) -> None:
        """Listen ourselves again, if a loop does so."""
        loan, self._loan = self._loan, None
        wire, end = self.line.wire, self._end
        if loan is None:
            return
        self._head_start.row = 0
        self.wakes += loan.ear.answers
        if loan.reader in self._hot:
            self._hot[loan.reader] = loan.ear.heard_at
        if loan.end() and wire is not None and end is not None and not end.done():
            if loan.reader.full:
                self.want(loan.reader)
            self._ask_next(wire, end)

    def _hand_out(self, answer: list[Any], by_key: dict[bytes, Reader]) -> None:
        longest = size = 0
        for key, entries in answer:
            reader = by_key.get(key)
            if reader is None:
                self._rang(entries)
            else:
                longest = max(longest, len(entries))
                size -= reader.fetched
                self._deliver(reader, entries)
                size += reader.fetched
        self._adapt(longest, size)

    def _adapt(self, longest: int, size: int) -> None:
        if size > _BYTES[1]:
            self._count = max(_COUNT[0], self._count // 2)
        elif longest == self._count and size < _BYTES[0]:
            self._count = min(_COUNT[1], self._count * 2)

    def _deliver(self, reader: Reader, raws: list[Any]) -> None:
        for raw in raws:
            entry = envelope.parse(raw)
            if entry is None:
                self._repair(reader)
                break
            reader.accept(entry)
        if reader in self._hot:
            self._hot[reader] = time.monotonic()
            if reader.full:
                self.want(reader)
        reader.tenure.wake()

    def _park(self, reader: Reader) -> None:
        """Leave it to the loop to ask for more."""
        reader.parked = True
        # The loop looks at `parked` after it has taken something, and may have done that just before.
        if reader.low:
            reader.parked = False
            self.want(reader)

    def _repair(self, reader: Reader) -> None:
        """Have entries that treadle did not write moved to the dead letters."""
        reader.repairing = True

        def done(_: Any) -> None:
            reader.repairing = False
            self.want(reader)

        self._call(done, "treadle_repair", reader.queue)

    def _rang(self, entries: list[Any]) -> None:
        self._bell_id = entries[-1][0]
        for _, (kind, name) in entries:
            queue = name.decode()
            if kind == b"r":
                self._on_room(queue)
                continue
            for reader in self._readers.get(queue, ()):
                if kind == b"e" and not reader.counted:
                    self._register(reader)
                else:
                    self.want(reader)

    # Registering

    def ask_all(self) -> None:
        """Ask for every reader anew: after a reconnect nobody knows which rings were missed."""
        for readers in list(self._readers.values()):
            for reader in readers:
                if reader.counted:
                    reader.claiming = False
                    self.want(reader)
                elif reader not in self._hot and not reader.parked:
                    self._register(reader)

    def _register(self, reader: Reader) -> None:
        if not self._to_register:
            asyncio.get_running_loop().call_soon(self._send_registrations)
        self._to_register[reader] = None

    def _send_registrations(self) -> None:
        waiting = list(self._to_register)
        self._to_register.clear()
        for start in range(0, len(waiting), REGISTER_AT_ONCE):
            part = waiting[start : start + REGISTER_AT_ONCE]
            args: list[Any] = [self._host]
            for reader in part:
                args += (reader.queue, reader.at)
            self._call(partial(self._registered, part), "treadle_register", *args)

    def _registered(self, readers: list[Reader], answer: Any) -> None:
        if not isinstance(answer, list):
            if answer is not GONE:  # the server is loading, or has no functions yet
                asyncio.get_running_loop().call_later(0.2, self._again, readers)
            return
        for reader, (data, tail, gone, drained, _) in zip(readers, answer[1:], strict=True):
            if data < 0:
                self._lose(reader, TenureLost("A queue's record is no hash.", reason="bad-type", queue=reader.queue))
                continue
            reader.learn(tail, writers_gone=gone == 1, drained=drained == 1)
            if data:
                self.want(reader)
            elif not data and gone:
                reader.tenure.wake()

    def _again(self, readers: list[Reader]) -> None:
        for reader in readers:
            if reader in self._readers.get(reader.queue, ()):
                self._register(reader)

    # Plumbing

    def keep_bell(self) -> None:
        """Renew the doorbell and drop what has been heard. Call it every few seconds."""

        def renewed(answer: Any) -> None:
            if answer == 0 and self.line.wire is not None:
                self.line.abort()  # the doorbell is gone: greet makes another, and everybody registers again

        self._commits.send(pack("EXPIRE", self._bell, BELL_TTL_S), renewed)
        self._send_quietly("XTRIM", self._bell, "MINID", self._bell_id)

    def look_again(self) -> None:
        """Ask anew for a few of the idle readers. Call it every half second: all have their turn in twenty.

        Rings are only a hint to look now. Should one ever be missed, this bounds what it costs. Few at a time,
        because whoever rings meanwhile waits for the server to be done with them.
        """
        idle = [r for readers in self._readers.values() for r in readers if r not in self._hot]
        self._turn = (self._turn + 1) % LOOK_AGAIN_TURNS
        for reader in idle[self._turn :: LOOK_AGAIN_TURNS]:
            if reader.parked and not reader.counted:
                self._park(reader)
            elif not reader.parked:
                self._ask(reader)

    def _ask(self, reader: Reader) -> None:
        if reader.counted:
            self.want(reader)
        else:
            self._register(reader)

    def _call(self, callback: Callable[[Any], None], function: str, *args: Any) -> None:
        keys = self._keys
        self._commits.send(pack("FCALL", function, 1, keys.meta, keys.prefix, *args), callback)

    def _send_quietly(self, *args: Any) -> None:
        self._commits.send(pack(*args), _ignore)


def _ignore(_: Any) -> None:
    """Take an answer that changes nothing."""
