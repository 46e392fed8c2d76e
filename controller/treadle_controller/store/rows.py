"""Rows: put many at once, whichever of the two databases it is."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_DIALECT = sqlite.dialect(paramstyle="qmark")
_AT_ONCE: Final = (1024, 128, 16, 1)  # rows in one statement: few different ones, which the driver keeps prepared
_MOST_VALUES: Final = 32_766  # in one statement of SQLite


Row = tuple[Any, ...]  # values in the order of the table's columns


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key. Rows have all columns, as the database takes them."""
    names = [column.name for column in table.columns]
    put_many(connection, table, [tuple(row[name] for name in names) for row in rows])


def put_many(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Do the same with rows that are tuples: thousands take half the time of as many dictionaries."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # The driver takes them as they are: a placement of thousands spends most of its time here. It gives the
        # interpreter away at each statement and, beside a busy event loop, gets it back 5 ms later: thousands of
        # statements of one row each took seconds then.
        for part in _parts(rows, len(table.columns)):
            connection.exec_driver_sql(_sqlite(table, len(part)), tuple(chain.from_iterable(part)))
    else:
        names = [column.name for column in table.columns]
        connection.execute(_postgresql(table), [dict(zip(names, row, strict=True)) for row in rows])


def _parts(rows: Sequence[Row], columns: int) -> Iterator[Sequence[Row]]:
    at = 0
    for size in _AT_ONCE:
        while size * columns <= _MOST_VALUES and len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


@functools.cache
def _sqlite(table: Table, rows: int) -> str:
    """Return the statement that puts so many rows."""
    one, several = _compiled(table)
    return one if rows == 1 else several % ", ".join([_placeholders(table)] * rows)


@functools.cache
def _compiled(table: Table) -> tuple[str, str]:
    """Return the statement for one row, and with a gap where the values of several go."""
    compiled = _upsert(sqlite.insert(table), table).compile(dialect=_DIALECT)
    one = str(compiled)
    if list(compiled.positiontup or ()) != [column.name for column in table.columns]:
        raise ValueError(f"the statement takes its values in another order than the table's: {one}")
    values = f"VALUES {_placeholders(table)}"
    if one.count(values) != 1:
        raise ValueError(f"the statement has another form than expected: {one}")
    return one, one.replace("%", "%%").replace(values, "VALUES %s")


def _placeholders(table: Table) -> str:
    return f"({', '.join('?' * len(table.columns))})"


@functools.cache
def _postgresql(table: Table) -> postgresql.Insert:
    statement: postgresql.Insert = _upsert(postgresql.insert(table), table)
    return statement


def _upsert(statement: Any, table: Table) -> Any:
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
