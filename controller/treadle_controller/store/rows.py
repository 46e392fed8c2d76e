"""Rows: put many at once, whichever of the two databases it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_DIALECT = sqlite.dialect(paramstyle="qmark")


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key. Rows have all columns, as the database takes them."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # The driver takes them as they are: a placement of thousands spends most of its time here.
        sql, values = _sqlite(table)
        connection.exec_driver_sql(sql, list(map(values, rows)))
    else:
        connection.execute(_postgresql(table), list(rows))


@functools.cache
def _sqlite(table: Table) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Return the statement, and what takes a row's values in its order."""
    compiled = _upsert(sqlite.insert(table), table).compile(dialect=_DIALECT)
    names = compiled.positiontup or ()
    return str(compiled), itemgetter(*names)


@functools.cache
def _postgresql(table: Table) -> postgresql.Insert:
    statement: postgresql.Insert = _upsert(postgresql.insert(table), table)
    return statement


def _upsert(statement: Any, table: Table) -> Any:
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
