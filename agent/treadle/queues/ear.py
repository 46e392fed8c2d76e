"""The feed's connection in the hands of the loop that it is for: its thread is the one that the message wakes.

A loop whose messages come one by one sleeps until the host's thread has been woken, has read, and wakes it in turn.
Where a host has one loop only, the host's thread lends it the connection instead (see Feed). The loop's thread sleeps
on the socket, takes in what comes, and asks for more when it is to sleep again:

    lent --wait()--> listening --small answer, a while after the last--> taken in; the next request is owed
                         |-----wake()----------------------------------> as with a latch
                         |-----anything else---------------------------> given back, with what was read

Whoever holds `_lock` decides; nothing is awaited under it. The host may take the ear back at any moment.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis

from treadle.queues.envelope import Entry, parse
from treadle.queues.head_start import QUIET_S, SMALL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from treadle.queues.latch import Latch
    from treadle.queues.naming import Naming

_LONG_S: Final = 86400.0  # more than this is not waited for at once


class Ear:
    """See the module. `wait` and `leave` are the loop's, `close` the host's, `ring` anybody's.

    `given_back` is called in the loop's thread when it ends the loan: `unread` is what it has read and not understood,
    and when it is `broken` the connection is of no more use.
    """

    __slots__ = (
        "_accept",
        "_answers",
        "_bell",
        "_bell_id",
        "_count",
        "_given_back",
        "_key",
        "_latch",
        "_lock",
        "_naming",
        "_open",
        "_poll",
        "_socket",
        "answers",
        "broken",
        "heard_at",
        "listening",
        "owes",
        "unread",
    )

    def __init__(
        self, sock: socket.socket, naming: Naming, count: int, bell_id: bytes, given_back: Callable[[Ear], None]
    ) -> None:
        self._socket = sock
        self._naming = naming
        self._count = count
        self._bell_id = bell_id
        self._given_back = given_back
        self._accept = naming.readers[0].accept
        self._key = next(iter(naming.by_key))
        self._latch: Latch = naming.readers[0].tenure.latch
        self._answers = hiredis.Reader(notEnoughData=False)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)
        self._lock = threading.RLock()  # a signal handler may ring while its thread holds it
        self._open = True
        self.listening = False
        self.owes = False  # the next request
        self.unread = b""
        self.broken = False
        self.answers = 0
        self.heard_at = time.monotonic()

    # The loop's side

    def wait(self, timeout_s: float | None) -> None:
        """Block until a message is here, the latch is raised, or the time is over."""
        latch = self._latch
        with self._lock:
            listens = self._begin()
        if not listens:
            latch.wait(timeout_s)
            return
        found: list[tuple[int, int]] = []
        try:
            if not latch.raised:  # who raises it looks at `listening` afterwards
                found = self._poll.poll(_milliseconds(timeout_s))
        finally:
            with self._lock:
                self.listening = False
                if self._open:
                    self._look(found)
                else:
                    self._close()
            latch.raised = False

    def leave(self) -> None:
        """Give it back: the loop is about to sleep in another way."""
        with self._lock:
            if self._open:
                self._give_back(b"")

    def _begin(self) -> bool:
        if self._open and self.owes:
            self._ask()
        self.listening = self._open
        return self._open

    def _ask(self) -> None:
        if self._naming.readers[0].full:
            self._give_back(b"")
            return
        self.owes = False
        request = self._naming.command(self._count, self._bell_id)
        try:
            self.broken = self._socket.send(request) != len(request)
        except OSError:
            self.broken = True
        if self.broken:
            self._give_back(b"")

    def _look(self, found: list[tuple[int, int]]) -> None:
        for descriptor, _ in found:
            if descriptor == self._bell and self._open:
                os.eventfd_read(self._bell)
            elif self._open:
                self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(SMALL)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic()
        if now - self.heard_at >= QUIET_S and self._take_in(data):
            self.answers += 1
            self.owes = True
        else:
            self._give_back(data)
        self.heard_at = now

    def _take_in(self, data: bytes) -> bool:
        """Take in an answer that is a few messages and no more; False for all that the host has to look at."""
        answers = self._answers
        try:
            answers.feed(data)
            answer: Any = answers.gets()
        except hiredis.ProtocolError:
            return False
        if not isinstance(answer, list) or len(answer) != 1 or answers.has_data():
            return False
        key, raws = answer[0]
        if key != self._key or len(raws) >= self._count:
            return False
        entries: list[Entry] = []
        for raw in raws:
            entry = parse(raw)
            if entry is None:
                return False
            entries.append(entry)
        for entry in entries:
            self._accept(entry)
        return True

    def _give_back(self, unread: bytes) -> None:
        self._open = False
        self._close()
        self.unread = unread
        self._given_back(self)

    # Anybody's

    def ring(self) -> None:
        """Let a loop that listens see that its latch was raised."""
        with self._lock:
            if self.listening:
                os.eventfd_write(self._bell, 1)

    # The host's side

    def close(self) -> None:
        """Listen no more."""
        with self._lock:
            if self._open:
                self._open = False
                if self.listening:
                    os.eventfd_write(self._bell, 1)  # the loop's thread closes what it sleeps on
                else:
                    self._close()

    def _close(self) -> None:
        self._socket.close()
        os.close(self._bell)


def _milliseconds(timeout_s: float | None) -> int | None:
    return None if timeout_s is None else math.ceil(min(max(timeout_s, 0.0), _LONG_S) * 1000)
