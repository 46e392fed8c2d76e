"""sql.insert on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from treadle.nodes.sql_insert import SqlInsert
from treadle.testing import run_node

COLUMNS = {"id": "text", "n": "integer", "x": "number", "ok": "boolean", "at": "timestamp", "tags": "json"}
ROW = {"id": "a", "n": 1, "x": 0.5, "ok": True, "at": "2018-02-07T01:00:00Z", "tags": {"k": [1]}}


@pytest.fixture
def engine(postgresql: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgresql, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS t, t_effects"))
    yield engine
    engine.dispose()


def params(url: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "table": "t", "columns": COLUMNS, **more}


def select(engine: sa.Engine, what: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(what))]


def test_rows_are_written_once(postgresql: str, engine: sa.Engine) -> None:
    run_node(SqlInsert, params(postgresql), [ROW])
    run_node(SqlInsert, params(postgresql), [ROW, {**ROW, "n": 2}])

    assert select(engine, "SELECT id, n, x, ok, tags FROM t ORDER BY n") == [
        ("a", 1, 0.5, True, '{"k": [1]}'),
        ("a", 2, 0.5, True, '{"k": [1]}'),
    ]
    assert select(engine, "SELECT extract(epoch from at)::bigint FROM t LIMIT 1") == [(1517965200,)]


def test_rows_are_replaced_by_key_and_no_repetition_brings_one_back(postgresql: str, engine: sa.Engine) -> None:
    keyed = params(postgresql, key=["id"])
    run_node(SqlInsert, keyed, [ROW, {**ROW, "n": 2}])

    run_node(SqlInsert, keyed, [ROW])

    assert select(engine, "SELECT id, n FROM t") == [("a", 2)]


def test_several_replicas_may_make_the_table_at_once(postgresql: str, engine: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        for n in range(20):  # two of them rarely meet
            made = params(postgresql, table=f"t{n}", key=["id"])
            list(threads.map(lambda params: run_node(SqlInsert, params, [ROW]), [made] * 4))

            assert select(engine, f"SELECT count(*) FROM t{n}") == [(1,)]
