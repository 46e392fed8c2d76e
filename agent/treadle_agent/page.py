"""The shared-memory page of a child: which of its loops are inside what, readable after its death.

A memfd, mapped by the supervisor and the child. Its name is in /proc/PID/maps of everything that was forked from
the child, which is how the supervisor finds copies that user code made. 64-bit numbers, eight to a slot; slot 0
of the file is the host's own, then a slot per loop:

    host    pulse    when Python last ran in a thread of treadle's, monotonic nanoseconds
            beat     when the event loop last turned, 0 without one
    loop    run      number of the start that owns the slot, 0 when free
            stage    IDLE, STARTING, RUNNING, ENDED
            inside   1 while code of nodes may run (treadle.loop.trace, which writes this and the next two)
            queue    which of the queues that feed the loop
            number   the message under way, 0 for none
            thread   its thread, as Linux knows it
            ident    its thread, as Python knows it
"""

from __future__ import annotations

import mmap
import os
from typing import Final, NamedTuple

from treadle.loop.trace import INSIDE, NUMBER, QUEUE, WORDS

PREFIX: Final = "treadle-"
IDLE: Final = 0
STARTING: Final = 1
RUNNING: Final = 2
ENDED: Final = 3

_SLOT: Final = 8  # words
_WORD: Final = 8  # bytes
_PULSE, _BEAT = 0, 1
_RUN, _STAGE, _TRACE, _THREAD, _IDENT = 0, 1, 2, 5, 6


class Seen(NamedTuple):
    """What a slot says."""

    run: int = 0
    stage: int = IDLE
    inside: bool = False
    queue: int = 0
    number: int = 0
    thread: int = 0
    ident: int = 0


class Page:
    """A page of some slots. `fd` is for handing it to a child."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, name: str, slots: int) -> Page:
        """Make a new page; `name` is seen in /proc/PID/maps of whoever maps it."""
        fd = os.memfd_create(PREFIX + name, os.MFD_CLOEXEC)
        os.ftruncate(fd, max(mmap.PAGESIZE, (slots + 1) * _SLOT * _WORD))
        return cls(fd)

    def pulse(self, now_ns: int) -> None:
        """Say that Python runs here."""
        self._words[_PULSE] = now_ns

    def beat(self, now_ns: int) -> None:
        """Say that the event loop turns."""
        self._words[_BEAT] = now_ns

    def signs(self) -> tuple[int, int]:
        """Return pulse and beat."""
        return self._words[_PULSE], self._words[_BEAT]

    def claim(self, slot: int, run: int) -> memoryview[int]:
        """Give a slot to a run that is STARTING; returns the words that its loop writes."""
        at = self._at(slot)
        self._words[at : at + _SLOT] = memoryview(bytes(_SLOT * _WORD)).cast("q")
        self._words[at + _STAGE] = STARTING
        self._words[at + _RUN] = run
        return self._words[at + _TRACE : at + _TRACE + WORDS]

    def mark(self, slot: int, stage: int) -> None:
        """Say where the loop in a slot is; IDLE frees it."""
        at = self._at(slot)
        self._words[at + _STAGE] = stage
        if stage == IDLE:
            self._words[at + _RUN] = 0

    def place(self, slot: int, thread: int, ident: int) -> None:
        """Say which thread a loop is."""
        at = self._at(slot)
        self._words[at + _THREAD], self._words[at + _IDENT] = thread, ident

    def read(self, slot: int) -> Seen:
        """Return what a slot says."""
        at = self._at(slot)
        run, stage, *trace, thread, ident = self._words[at : at + _IDENT + 1].tolist()
        return Seen(run, stage, trace[INSIDE] != 0, trace[QUEUE], trace[NUMBER], thread, ident)

    def close(self) -> None:
        """Unmap it, here."""
        self._words.release()
        self._memory.close()
        os.close(self.fd)

    def _at(self, slot: int) -> int:
        return (slot + 1) * _SLOT
