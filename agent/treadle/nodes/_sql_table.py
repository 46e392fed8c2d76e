"""One SQL table that rows are written to, each effect once. Imports SQLAlchemy: import it when a node opens."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import sqlalchemy.event
import sqlalchemy.exc
from sqlalchemy.dialects import postgresql, sqlite

from treadle.errors import ConfigError, Permanent

_TYPES: Final[dict[str, Any]] = {
    "text": sa.Text,
    "integer": sa.BigInteger,
    "number": sa.Double,
    "boolean": sa.Boolean,
    "timestamp": sa.DateTime(timezone=True),
    "json": sa.Text,
}
_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_CREATING: Final = 0x737164  # the lock of those who make tables
_PATIENCE: Final = 30.0  # seconds to wait for others who hold a SQLite file


class SqlTable:
    """A table, made from `columns` if it is not there, and its memory of effects.

    Without `key` the effect id is a unique column of the row. With it, rows are replaced, so the ids need a table
    of their own, `<table>_effects`. Raises ConfigError when the table does not fit, SQLAlchemy's errors otherwise.
    """

    def __init__(
        self, url: str, name: str, *, columns: Mapping[str, str], key: Sequence[str], effect_column: str
    ) -> None:
        self._engine = _engine(url)
        self._insert = _INSERTS[self._engine.dialect.name]
        self._key = list(key)
        self._effect_column = effect_column
        metadata = sa.MetaData()
        if columns:
            _define(metadata, name, columns, key=key, effect_column=effect_column)
        self._effects = _define_effects(metadata, name) if key else None
        _create(self._engine, metadata)
        self._table = self._reflect(name)
        own = () if key else (effect_column,)
        self.columns = tuple(column.name for column in self._table.columns if column.name not in own)

    def close(self) -> None:
        self._engine.dispose()

    def write(self, row: Mapping[str, Any], *, effect_id: str, now: float) -> bool:
        """Write a row in a transaction of its own; return False when this effect was written before."""
        values = {name: self._value(name, value) for name, value in row.items()}
        with self._engine.begin() as connection:
            if self._effects is None:
                return self._write_once(connection, values, effect_id)
            if not self._remember(connection, self._effects, effect_id, now):
                return False
            connection.execute(self._upsert(values))
            return True

    def forget_effects(self, *, before: float) -> None:
        """Forget the effects that were written before a moment (seconds since the epoch)."""
        if self._effects is not None:
            with self._engine.begin() as connection:
                connection.execute(sa.delete(self._effects).where(self._effects.c.written_at < before))

    def _write_once(self, connection: sa.Connection, values: dict[str, Any], effect_id: str) -> bool:
        statement = self._insert(self._table).values({**values, self._effect_column: effect_id})
        return _wrote(connection, statement, self._table.c[self._effect_column])

    def _remember(self, connection: sa.Connection, effects: sa.Table, effect_id: str, now: float) -> bool:
        statement = self._insert(effects).values(effect_id=effect_id, written_at=now)
        return _wrote(connection, statement, effects.c.effect_id)

    def _upsert(self, values: dict[str, Any]) -> Any:
        statement = self._insert(self._table).values(values)
        changed = {name: statement.excluded[name] for name in values if name not in self._key}
        if not changed:
            return statement.on_conflict_do_nothing(index_elements=self._key)
        return statement.on_conflict_do_update(index_elements=self._key, set_=changed)

    def _reflect(self, name: str) -> sa.Table:
        try:
            table = sa.Table(name, sa.MetaData(), autoload_with=self._engine)
        except sqlalchemy.exc.NoSuchTableError as exc:
            self.close()
            message = f"there is no table {name!r}; create it, or give `columns` so that it is created"
            raise ConfigError(message, table=name) from exc
        if not self._key and self._effect_column not in table.columns:
            self.close()
            message = f"table {name!r} has no column {self._effect_column!r}; add it as a unique text column"
            raise ConfigError(message, table=name, column=self._effect_column)
        return table

    def _value(self, name: str, value: Any) -> Any:
        column = self._table.columns.get(name)
        if column is None:
            raise Permanent(f"table {self._table.name!r} has no column {name!r}")
        if isinstance(column.type, sa.DateTime) and isinstance(value, str | int | float):
            return _moment(name, value)
        if isinstance(value, dict | list) and not isinstance(column.type, sa.JSON):
            return json.dumps(value, ensure_ascii=False)
        return value


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_size=1, max_overflow=0, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, connect_args={"timeout": _PATIENCE})
    sqlalchemy.event.listen(engine, "connect", _tune_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: Any) -> None:
    # Readers do not hold up the writer; a power loss may take the last rows, and effect ids bring them back only
    # if their iterations had not committed: so full synchronisation stays on.
    turn_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL").close()


def turn_to_wal(connection: sqlite3.Connection, *, pause: Callable[[float], object] = time.sleep) -> None:
    """Have a SQLite file keep a write-ahead log, also when others open it for the first time just now.

    SQLite refuses this at once, whatever its timeout, while another connection is about to write; so it is asked
    for again for 30 seconds. Raises what SQLite said last.
    """
    last = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
        pause(0.01)


def _define(
    metadata: sa.MetaData, name: str, columns: Mapping[str, str], *, key: Sequence[str], effect_column: str
) -> None:
    primary = set(key)
    defined = [sa.Column(column, _TYPES[kind], primary_key=column in primary) for column, kind in columns.items()]
    if not key:
        defined.append(sa.Column(effect_column, sa.Text, primary_key=True))
    sa.Table(name, metadata, *defined)


def _define_effects(metadata: sa.MetaData, name: str) -> sa.Table:
    return sa.Table(
        f"{name}_effects",
        metadata,
        sa.Column("effect_id", sa.Text, primary_key=True),
        sa.Column("written_at", sa.Double, nullable=False, index=True),
    )


def _create(engine: sa.Engine, metadata: sa.MetaData) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # whose IF NOT EXISTS lets two creators collide in the catalog
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATING)))
        for table in metadata.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _wrote(connection: sa.Connection, statement: Any, effect: sa.Column[Any]) -> bool:
    # What is returned says it, and not `rowcount`, which drivers leave open for inserts.
    unless_there = statement.on_conflict_do_nothing(index_elements=[effect]).returning(effect)
    return connection.execute(unless_there).first() is not None


def _moment(name: str, value: str | float) -> datetime:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as exc:
        message = f"column {name!r} takes seconds since the epoch or ISO 8601, not {value!r}"
        raise Permanent(message) from exc
