"""Reading text files line by line, with a position that can be stored."""

from __future__ import annotations

import gzip
import os
from typing import BinaryIO, Final, cast

from treadle.errors import Permanent

LONGEST: Final = 1024 * 1024  # bytes of one line: more would not fit into a message


class LineFile:
    """A file (`.gz` is unpacked) that hands out lines as bytes from a given offset.

    Offsets count unpacked bytes. Raises OSError when the file can't be read, Permanent for a line that is too long.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        opener = gzip.open if path.endswith(".gz") else open
        self._file = cast("BinaryIO", opener(path, "rb"))
        self.offset = 0

    def seek(self, offset: int) -> None:
        """Go to an offset, unless the file is there already (a failed attempt may have read on)."""
        if offset != self.offset:
            self._file.seek(offset)
            self.offset = offset

    def reread(self) -> None:
        """Forget what was read ahead: the file was cut and has other content now."""
        self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self.offset = 0

    def read(self) -> bytes | None:
        """Return the next line with its end, the last one perhaps without, or None when there is none now."""
        line = self._file.readline(LONGEST + 1)
        if len(line) > LONGEST:
            raise Permanent(f"{self.path}: the line at byte {self.offset} is longer than {LONGEST} bytes")
        self.offset += len(line)
        return line or None

    @property
    def identity(self) -> int:
        """Which file this is (its inode), however it is called by now."""
        return os.fstat(self._file.fileno()).st_ino

    def head(self, length: int) -> bytes:
        """Return its first bytes as they are on disk."""
        return os.pread(self._file.fileno(), length, 0)

    @property
    def size(self) -> int:
        """Bytes of the file as it is now, packed ones for `.gz`."""
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()
