"""Opening the store, and the two ways to use it: `write` and `read`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from treadle_controller.errors import Deposed, NeedsMending, StartFailed, start_failure
from treadle_controller.store.lock import StoreLock
from treadle_controller.store.migrate import migrate
from treadle_controller.store.schema import COUNTERS
from treadle_controller.store.writer import Writer

T = TypeVar("T")
_BUSY_MS: Final = 5_000
_UNUSABLE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class Store:
    """One database. Open it before the event loop needs it; `close` ends the writer after its last write."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._lock: StoreLock | None = None
        self._engine: Engine | None = None
        self._writer: Writer | None = None

    def open(self) -> None:
        """Lock, migrate and start the writer. Raises StoreInUse, or StartFailed with the database's own words."""
        try:
            self._open()
        except OSError as exc:
            self.close()
            raise start_failure(f"the store {self.name} can't be opened: {exc}", exc) from exc
        except SQLAlchemyError as exc:
            self.close()
            kind = NeedsMending if _is_unusable(exc) else StartFailed
            raise kind(f"the store {self.name} can't be opened: {exc}") from exc
        except StartFailed:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The URL, without a password."""
        return self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def fence(self, term: int) -> None:
        """Write only as long as no other controller has raised the term: a write raises Deposed then."""

        def guard(connection: Connection) -> None:
            found = connection.execute(
                select(COUNTERS.c.value).where(COUNTERS.c.name == "term").with_for_update(read=True)
            )
            if found.scalar() != term:
                raise Deposed("another controller has written to the store since: it leads now")

        if self._writer is not None:
            self._writer.guard = guard

    async def write(self, write: Callable[[Connection], T]) -> T:
        """Run a function in the writer's next transaction and return its result once that is committed."""
        if self._writer is None:
            raise StartFailed("the store is not open")
        result: T = await self._writer.write(write)
        return result

    async def read(self, read: Callable[[Connection], T]) -> T:
        """Run a function on a connection of its own, in a thread."""
        return await asyncio.to_thread(self.read_now, read)

    def read_now(self, read: Callable[[Connection], T]) -> T:
        """Run a function on a connection of its own; blocks."""
        if self._engine is None:
            raise StartFailed("the store is not open")
        with self._engine.connect() as connection:
            return read(connection)

    def _open(self) -> None:
        if self._url.get_backend_name() == "sqlite":
            self._prepare_file()
        self._engine = create_engine(self._url)
        if self._url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _set_pragmas)
        with self._engine.begin() as connection:
            migrate(connection)
        self._writer = Writer(self._engine)
        self._writer.start()

    def _prepare_file(self) -> None:
        if self._url.database in (None, "", ":memory:"):
            raise NeedsMending("the store must be a file: desired state has to outlive the controller")
        path = Path(str(self._url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = StoreLock(path)
        self._lock.acquire()


def _is_unusable(exc: SQLAlchemyError) -> bool:
    """Return whether a file is no database, or not ours to open or to write."""
    cause = exc.orig if isinstance(exc, DBAPIError) else None
    # The lower byte is the kind of error, what is above tells more.
    return isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
