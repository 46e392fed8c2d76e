"""The shared-memory page of a child: which of its loops are inside what, readable after its death.

A memfd, mapped by the supervisor and the child. Its name is in /proc/PID/maps of everything that was forked from
the child, which is how the supervisor finds copies that user code made. A slot per loop:

    offset  size  meaning
    0       8     run: number of the start that owns the slot, 0 when free
    8       1     stage: IDLE, STARTING, RUNNING, ENDED
    9       7     kept free (node, message)
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

PREFIX: Final = "treadle-"
IDLE: Final = 0
STARTING: Final = 1
RUNNING: Final = 2
ENDED: Final = 3

_SLOT: Final = struct.Struct("<QB7x")


class Page:
    """A page of some slots. `fd` is for handing it to a child."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, os.fstat(fd).st_size)

    @classmethod
    def create(cls, name: str, slots: int) -> Page:
        """Make a new page; `name` is seen in /proc/PID/maps of whoever maps it."""
        fd = os.memfd_create(PREFIX + name, os.MFD_CLOEXEC)
        os.ftruncate(fd, max(mmap.PAGESIZE, slots * _SLOT.size))
        return cls(fd)

    def mark(self, slot: int, run: int, stage: int) -> None:
        """Say where the loop in a slot is."""
        _SLOT.pack_into(self._memory, slot * _SLOT.size, run, stage)

    def read(self, slot: int) -> tuple[int, int]:
        """Return (run, stage) of a slot."""
        run, stage = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
        return int(run), int(stage)

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)
