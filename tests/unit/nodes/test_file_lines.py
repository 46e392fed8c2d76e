"""file.lines and csv.rows: each line once, whatever happens."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from treadle.errors import Permanent
from treadle.nodes.csv_rows import CsvRows
from treadle.nodes.file_lines import FileLines
from treadle.testing import run_node


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_lines_come_in_order_with_their_numbers(path: Path) -> None:
    path.write_bytes(b"one\r\n\ntwo \xc3\xa9\nno end")

    run = run_node(FileLines, {"path": str(path)})

    assert [item["line"] for item in run.items] == ["one", "", "two é", "no end"]
    assert [item["number"] for item in run.items] == [1, 2, 3, 4]
    assert run.completed


def test_lines_go_on_where_the_last_commit_was(path: Path) -> None:
    path.write_text("".join(f"{n}\n" for n in range(10)))
    before = run_node(FileLines, {"path": str(path)}, limit=4)

    after = run_node(FileLines, {"path": str(path)}, state=before.state)

    assert [item["line"] for item in before.items + after.items] == [str(n) for n in range(10)]


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "data.gz"
    packed.write_bytes(gzip.compress(b"a\nb\nc\n"))
    before = run_node(FileLines, {"path": str(packed)}, limit=1)

    after = run_node(FileLines, {"path": str(packed)}, state=before.state)

    assert [item["line"] for item in after.items] == ["b", "c"]


def test_a_followed_file_waits_for_the_end_of_a_line(path: Path) -> None:
    path.write_text("one\nhal")
    before = run_node(FileLines, {"path": str(path), "follow": True}, limit=9, patience=3)
    with path.open("a") as file:
        file.write("f\n")

    after = run_node(FileLines, {"path": str(path), "follow": True}, state=before.state, patience=3)

    assert [item["line"] for item in before.items + after.items] == ["one", "half"]
    assert not before.completed


def test_a_followed_file_that_was_replaced_is_read_from_its_start(path: Path) -> None:
    path.write_text("old\n")
    before = run_node(FileLines, {"path": str(path), "follow": True}, patience=3)
    path.rename(path.with_suffix(".1"))
    path.write_text("brand new\nlines\n")

    after = run_node(FileLines, {"path": str(path), "follow": True}, state=before.state, patience=3)

    assert [item["line"] for item in after.items] == ["brand new", "lines"]


def test_a_followed_file_need_not_be_there_yet(path: Path) -> None:
    run = run_node(FileLines, {"path": str(path), "follow": True}, patience=3)

    assert run.items == []


def test_a_file_that_was_cut_is_an_error(path: Path) -> None:
    path.write_text("one\ntwo\n")
    before = run_node(FileLines, {"path": str(path)}, limit=2)
    path.write_text("x\n")

    with pytest.raises(Permanent, match="shorter"):
        run_node(FileLines, {"path": str(path)}, state=before.state)


def test_rows_have_typed_columns(path: Path) -> None:
    path.write_text('\ufeffname,n,x,ok\n"a, ""b""",1,2.5,true\n\nc,,,no\n')

    run = run_node(CsvRows, {"path": str(path), "columns": {"n": "integer", "x": "number", "ok": "boolean"}})

    assert run.items == [
        {"name": 'a, "b"', "n": 1, "x": 2.5, "ok": True},
        {"name": "c", "n": None, "x": None, "ok": False},
    ]
    assert run.completed


def test_rows_go_on_where_the_last_commit_was_also_after_a_row_of_several_lines(path: Path) -> None:
    path.write_text('t\n"two\nlines"\nb\nc\n')
    before = run_node(CsvRows, {"path": str(path)}, limit=1)

    after = run_node(CsvRows, {"path": str(path)}, state=before.state)

    assert [item["t"] for item in before.items + after.items] == ["two\nlines", "b", "c"]


def test_a_file_without_column_names_gets_them_from_its_parameters(tmp_path: Path) -> None:
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(b"1;2\n3;4\n"))

    run = run_node(CsvRows, {"path": str(packed), "names": ["a", "b"], "delimiter": ";"})

    assert run.items == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n3\n", "row 2: 1 values for 2 columns"),
        ("a,b\n1,x\n", "row 1, column 'b': 'x' is no integer"),
        ('a,b\n1,"2\n', "row 1: unexpected end of data"),
        ("a,a\n1,2\n", "names that differ"),
        ("", "names that differ"),
        ("a,c\n1,2\n", "has no column b"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(path: Path, text: str, says: str) -> None:
    path.write_text(text)

    with pytest.raises(Permanent, match=says):
        run_node(CsvRows, {"path": str(path), "columns": {"b": "integer"}})


def test_bad_values_can_become_null(path: Path) -> None:
    path.write_text("a,b\n1,x\n")

    run = run_node(CsvRows, {"path": str(path), "columns": {"b": "integer"}, "bad_values": "null"})

    assert run.items == [{"a": "1", "b": None}]
