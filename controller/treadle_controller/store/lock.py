"""The lock of a SQLite store: one controller at a time, released by the kernel however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from treadle_controller.errors import StoreInUse


class StoreLock:
    """Holds `<database>.lock`; the file stays, the lock goes with the process."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock, or raise StoreInUse with the process id of its owner."""
        file = self._path.open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            file.seek(0)
            owner = file.read(32).strip() or "unknown"
            file.close()
            raise StoreInUse(f"another controller (process {owner}) uses the store {self._path.stem}") from exc
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
