"""Backups: everything that a store holds, as one SQLite file, whichever database it came from.

A backup is taken in one read transaction beside a running controller. A restored store is older than Redis and than
what agents run; so its counters go on far above anything that the lost controller can have given out: no epoch and
no term is ever given out twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, NullPool, create_engine, delete, func, insert, inspect, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from treadle_controller.errors import StartFailed
from treadle_controller.store import assignments
from treadle_controller.store.leadership import keep_out
from treadle_controller.store.lock import StoreLock
from treadle_controller.store.migrate import migrate
from treadle_controller.store.schema import HEAD, METADATA, WORKFLOWS

AHEAD: Final = 1_000_000_000  # by how much a restored store goes ahead: far more than was given out since the backup
_COUNTERS: Final = ("epoch", "term")
_PAGE: Final = 1_000


def backup(store_url: str, file: Path) -> int:
    """Copy a store to a new file; returns how many rows. Raises StartFailed when it can't be done."""
    if file.exists():
        raise StartFailed(f"{file} exists; give the backup a name of its own")
    _refuse_nothing(store_url)
    partial = file.with_name(file.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
    except OSError as exc:
        raise StartFailed(f"{file} can't be written: {exc.strerror}") from exc
    try:
        with _reading(store_url) as reading, _writing(f"sqlite:///{partial}") as writing:
            _refuse_strangers(reading, "store")
            migrate(writing)
            rows = _copy(reading, writing)
    except (SQLAlchemyError, OSError) as exc:
        partial.unlink(missing_ok=True)
        raise StartFailed(f"the backup failed: {exc}") from exc
    partial.replace(file)
    return rows


def restore(store_url: str, file: Path, *, force: bool = False) -> int:
    """Replace what a store holds by a backup, counters far ahead; returns how many rows.

    Raises StoreInUse while a controller uses a SQLite store or leads with a PostgreSQL, StartFailed when the store
    holds workflows (unless `force`) or the file is no backup that this program knows.
    """
    if not file.is_file():
        raise StartFailed(f"there is no backup {file}")
    lock = _lock(store_url)
    try:
        with _reading(f"sqlite:///{file}") as reading, _writing(store_url) as writing:
            _refuse_strangers(reading, "backup")
            keep_out(writing)
            migrate(writing)
            if not force and writing.execute(select(func.count()).select_from(WORKFLOWS)).scalar():
                raise StartFailed("the store holds workflows; --force replaces them by those of the backup")
            ahead = {name: _ahead(reading, writing, name) for name in _COUNTERS}
            for table in reversed(METADATA.sorted_tables):
                writing.execute(delete(table))
            rows = _copy(reading, writing)
            for name, value in ahead.items():
                assignments.put_counter(writing, name, value)
    except (SQLAlchemyError, OSError) as exc:
        raise StartFailed(f"the restore failed: {exc}") from exc
    finally:
        if lock is not None:
            lock.release()
    return rows


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    with closing(create_engine(url, poolclass=NullPool).connect()) as connection:
        yield connection


@contextmanager
def _writing(url: str) -> Iterator[Connection]:
    """Give a connection in a transaction, which is committed at the end."""
    with _reading(url) as connection, connection.begin():
        yield connection


def _ahead(backup: Connection, store: Connection, name: str) -> int:
    return max(assignments.get_counter(backup, name), assignments.get_counter(store, name)) + AHEAD


def _copy(reading: Connection, writing: Connection) -> int:
    rows = 0
    for table in METADATA.sorted_tables:
        found = reading.execution_options(yield_per=_PAGE).execute(select(table))
        for page in found.mappings().partitions(_PAGE):
            values: list[dict[str, Any]] = [dict(row) for row in page]
            writing.execute(insert(table), values)
            rows += len(values)
    return rows


def _refuse_nothing(store_url: str) -> None:
    """Raise StartFailed for a SQLite store that is not there: opening it would make an empty one."""
    url = make_url(store_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise StartFailed(f"there is no store {url.database}; say which with --config or --store")


def _refuse_strangers(connection: Connection, what: str) -> None:
    """Raise StartFailed for a database of another schema: a controller of the right version has to open it first."""
    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != HEAD:
        known = f"schema {found}, and this program has {HEAD}" if found else "no schema of treadle"
        raise StartFailed(f"the {what} has {known}; use the treadle that made it")


def _lock(store_url: str) -> StoreLock | None:
    url = make_url(store_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = StoreLock(path)
    lock.acquire()
    return lock
