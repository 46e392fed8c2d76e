"""log, file.append and sql.insert: what they write, and that a repetition writes nothing."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from treadle.errors import ConfigError, Permanent
from treadle.nodes._sql_table import turn_to_wal
from treadle.nodes.file_append import FileAppend
from treadle.nodes.log import Log
from treadle.nodes.sql_insert import SqlInsert, SqlInsertParams
from treadle.testing import run_node


def test_log_writes_text_and_fields_and_passes_on(caplog: pytest.LogCaptureFixture) -> None:
    params = {"message": "seen", "level": "warning", "fields": ["a", "absent"]}

    with caplog.at_level(logging.INFO, logger="treadle.node"):
        run = run_node(Log, params, [{"a": 1, "b": b"xx"}])

    (record,) = [record for record in caplog.records if record.name == "treadle.node"]
    assert record.getMessage() == 'seen {"a": 1}'
    assert record.levelno == logging.WARNING
    assert record.__dict__["fields"] == {"a": 1}
    assert record.__dict__["node"] == "node"
    assert run.items == [{"a": 1, "b": b"xx"}]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_append_writes_json_lines_with_effect_ids(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"

    run = run_node(FileAppend, {"path": str(path)}, [{"a": 1}, {"a": 2}])

    assert [line["a"] for line in lines(path)] == [1, 2]
    assert len({line["effect_id"] for line in lines(path)}) == 2
    assert run.items == [{"a": 1}, {"a": 2}]


def test_a_repetition_after_a_restart_appends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    run_node(FileAppend, {"path": str(path)}, [{"a": 1}])

    run_node(FileAppend, {"path": str(path)}, [{"a": 1}, {"a": 2}])

    assert [line["a"] for line in lines(path)] == [1, 2]


def test_a_line_that_a_crash_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"a": ')

    run_node(FileAppend, {"path": str(path), "sync": True}, [{"a": 1}])

    assert json.loads(path.read_text().splitlines()[1])["a"] == 1


def test_append_writes_text(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"

    run_node(FileAppend, {"path": str(path), "format": "text", "text": "'n=' + string(data.a)"}, [{"a": 1}])

    assert path.read_text() == "n=1\n"


COLUMNS = {"id": "text", "n": "integer", "at": "timestamp", "tags": "json"}
ROW = {"id": "a", "n": 1, "at": 1_700_000_000, "tags": ["x"], "other": 0}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "data.db"


def params(database: Path, **more: Any) -> dict[str, Any]:
    return {"url": f"sqlite:///{database}", "table": "t", "columns": COLUMNS, **more}


def select(database: Path, what: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(what).fetchall()


def test_a_database_that_another_is_writing_for_the_first_time_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    pauses: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(sqlite3.connect(path)) as ours:
        other.execute("BEGIN IMMEDIATE")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            other.execute("ROLLBACK")

        turn_to_wal(ours, pause=pause)

        assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert pauses == [0.01]


def test_a_database_that_is_none_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database" * 100)

    with closing(sqlite3.connect(path)) as ours, pytest.raises(sqlite3.DatabaseError, match="not a database"):
        turn_to_wal(ours, pause=lambda _: pytest.fail("waited"))


def test_insert_makes_the_table_and_writes_rows(database: Path) -> None:
    run = run_node(SqlInsert, params(database), [ROW])

    assert select(database, "SELECT id, n, tags FROM t") == [("a", 1, '["x"]')]
    assert select(database, "SELECT at FROM t")[0][0].startswith("2023-11-14 22:13:20")
    assert run.items == [ROW]


def test_a_repetition_inserts_nothing(database: Path) -> None:
    run_node(SqlInsert, params(database), [ROW])

    run_node(SqlInsert, params(database), [ROW, {**ROW, "n": 2}])

    assert select(database, "SELECT n FROM t ORDER BY n") == [(1,), (2,)]


def test_rows_with_the_same_key_are_replaced(database: Path) -> None:
    keyed = params(database, key=["id"])

    run_node(SqlInsert, keyed, [ROW, {**ROW, "n": 2}, {**ROW, "id": "b"}])

    assert select(database, "SELECT id, n FROM t ORDER BY id") == [("a", 2), ("b", 1)]


def test_a_repetition_does_not_bring_back_a_row_that_was_replaced(database: Path) -> None:
    keyed = params(database, key=["id"])
    run_node(SqlInsert, keyed, [ROW, {**ROW, "n": 2}])

    run_node(SqlInsert, keyed, [ROW])

    assert select(database, "SELECT id, n FROM t") == [("a", 2)]


def test_columns_can_be_calculated(database: Path) -> None:
    run_node(SqlInsert, params(database, values={"id": "data.id + '!'", "n": "data.n * 10"}), [ROW])

    assert select(database, "SELECT id, n FROM t") == [("a!", 10)]


def test_a_value_for_no_column_is_an_error(database: Path) -> None:
    with pytest.raises(Permanent, match="no column 'zz'"):
        run_node(SqlInsert, params(database, values={"zz": "1"}), [ROW])


def test_a_table_that_is_missing_or_has_no_effect_column_is_said_so(database: Path) -> None:
    with pytest.raises(ConfigError, match="there is no table 't'"):
        run_node(SqlInsert, {**params(database), "columns": {}}, [ROW])

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (id TEXT)")
    with pytest.raises(ConfigError, match="has no column 'effect_id'"):
        run_node(SqlInsert, {**params(database), "columns": {}}, [ROW])


@pytest.mark.parametrize("wrong", [{"url": "mysql://secret@h/x"}, {"key": ["zz"]}, {"effect_column": "id"}])
def test_parameters_that_do_not_fit_are_refused_without_showing_the_url(database: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        SqlInsertParams.model_validate({**params(database), **wrong})

    assert "secret" not in str(caught.value)
