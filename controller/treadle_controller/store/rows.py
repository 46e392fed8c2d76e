"""Rows: put many at once, whichever of the two databases it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_DIALECT = sqlite.dialect(paramstyle="qmark")
_AT_ONCE: Final = (1024, 128, 16, 1)  # rows in one statement: few different ones, which the driver keeps prepared
_MOST_VALUES: Final = 32_766  # in one statement of SQLite


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key. Rows have all columns, as the database takes them."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # The driver takes them as they are: a placement of thousands spends most of its time here. It gives the
        # interpreter away at each statement and, beside a busy event loop, gets it back 5 ms later: thousands of
        # statements of one row each took seconds then.
        values = _values(table)
        for part in _parts(rows, len(table.columns)):
            connection.exec_driver_sql(_sqlite(table, len(part)), tuple(chain.from_iterable(map(values, part))))
    else:
        connection.execute(_postgresql(table), list(rows))


def _parts(rows: Sequence[Mapping[str, Any]], columns: int) -> Iterator[Sequence[Mapping[str, Any]]]:
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
    one = str(_upsert(sqlite.insert(table), table).compile(dialect=_DIALECT))
    values = f"VALUES {_placeholders(table)}"
    if one.count(values) != 1:
        raise ValueError(f"the statement has another form than expected: {one}")
    return one, one.replace("%", "%%").replace(values, "VALUES %s")


def _placeholders(table: Table) -> str:
    return f"({', '.join('?' * len(table.columns))})"


@functools.cache
def _values(table: Table) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Return what takes a row's values in the order of the statement."""
    names = _upsert(sqlite.insert(table), table).compile(dialect=_DIALECT).positiontup or ()
    return itemgetter(*names)


@functools.cache
def _postgresql(table: Table) -> postgresql.Insert:
    statement: postgresql.Insert = _upsert(postgresql.insert(table), table)
    return statement


def _upsert(statement: Any, table: Table) -> Any:
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
