from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.workflow import read_document
from treadle.workflow.reading import MAX_BYTES, MAX_DEPTH

GOOD = b'{"nodes": [], "edges": []}'
REFUSED = {
    "empty": (b"", "empty-document", ""),
    "blank": (b" \n\t ", "empty-document", ""),
    "null": (b"null", "not-a-workflow", ""),
    "array": (b"[]", "not-a-workflow", ""),
    "number": (b"5", "not-a-workflow", ""),
    "string": (b'"nodes"', "not-a-workflow", ""),
    "truncated": (b'{"nodes": [{"id": "a"', "bad-json", ""),
    "truncated in a string": (b'{"nodes": [{"id": "a', "bad-json", ""),
    "truncated in an escape": (b'{"nodes": "\\', "bad-json", ""),
    "rubbish behind": (GOOD + b"}", "bad-json", ""),
    "backslash outside": (b'{\\"": [[[', "bad-json", ""),
    "single quotes": (b"{'nodes': []}", "bad-json", ""),
    "UTF-16": (GOOD.decode().encode("utf-16"), "bad-encoding", ""),
    "UTF-16 without mark": (GOOD.decode().encode("utf-16-le"), "bad-encoding", ""),
    "UTF-32": (GOOD.decode().encode("utf-32"), "bad-encoding", ""),
    "BOM": (b"\xef\xbb\xbf" + GOOD, "bad-encoding", ""),
    "NUL": (b'{"nodes": "\x00"}', "bad-encoding", ""),
    "Latin-1": (b'{"name": "\xe9"}', "bad-encoding", ""),
    "surrogate in UTF-8": (b'{"name": "\xed\xa0\x80"}', "bad-encoding", ""),
    "deep arrays": (b"[" * 100_000, "too-deep", ""),
    "deep objects": (b'{"a":' * 100_000, "too-deep", ""),
    "deep and closed": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep", ""),
    "one level too deep": (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too-deep", ""),
    "too large": (b" " * MAX_BYTES + GOOD, "document-too-large", ""),
    "megabytes of objects": (b'{"nodes": [' + b"{}," * 1_300_000 + b"{}]}", "too-many-values", ""),
    "NaN": (b'{"nodes": [{"x": NaN}]}', "bad-number", "/nodes/0/x"),
    "Infinity": (b'{"a": {"b": -Infinity}}', "bad-number", "/a/b"),
    "float too large": (b'{"a": 1e999}', "number-out-of-range", "/a"),
    "integer of 5,000 digits": (b'{"a": [1, ' + b"9" * 5_000 + b"]}", "number-out-of-range", "/a/1"),
    "integer of a million digits": (b'{"a": ' + b"9" * 1_000_000 + b"}", "number-out-of-range", "/a"),
    "integer of 65 bits": (b'{"a": 9223372036854775808}', "number-out-of-range", "/a"),
    "duplicate key": (b'{"nodes": [{"id": "a", "id": "b"}]}', "duplicate-key", "/nodes/0/id"),
    "duplicate key at the top": (b'{"nodes": [], "nodes": []}', "duplicate-key", "/nodes"),
    "lone surrogate": (b'{"a": ["\\ud800"]}', "lone-surrogate", "/a/0"),
    "lone surrogate in a key": (b'{"a": {"\\uDC00": 1}}', "lone-surrogate", "/a/\\udc00"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_unacceptable_bytes_become_one_typed_finding(case: str) -> None:
    data, code, pointer = REFUSED[case]

    result = read_document(data)

    assert result.document is None
    assert [(found.code, found.severity, found.pointer) for found in result.findings] == [(code, "error", pointer)]
    assert all(found.message and found.fix for found in result.findings)
    assert len(result.findings[0].message) < 300


def test_a_document_is_read_as_json_reads_it() -> None:
    text = '{"nodes": [{"id": "a\\"[{", "x": -1.5e3, "y": 9223372036854775807}], "emoji": "\\ud83d\\ude00 \\\\"}'

    assert read_document(text.encode()).document == json.loads(text)


def test_brackets_in_strings_are_no_depth() -> None:
    document = {"nodes": [], "name": '["' * 1_000 + "\\" * 999 + '"}'}

    assert read_document(json.dumps(document).encode()).document == document


def test_all_flaws_of_a_document_are_reported_together_and_in_order() -> None:
    result = read_document(b'{"a": NaN, "b": [1, {"c": 1e400}], "d": {"e": 1, "e": 2}, "f": "\\udfff"}')

    assert [found.pointer for found in result.findings] == ["/a", "/b/1/c", "/d/e", "/f"]


def test_a_truncated_document_says_where_it_ends() -> None:
    finding = read_document(b'{"nodes": [').findings[0]

    assert "line 1" in finding.message
    assert "ends too early" in finding.message


def test_flaws_without_number_are_listed_up_to_a_limit() -> None:
    result = read_document(b'{"a": [' + b"NaN," * 50_000 + b"1]}")

    assert len(result.findings) < 1_100


@pytest.mark.parametrize(
    "data",
    [
        b'{"nodes": [' + b"{}," * 1_300_000 + b"{}]}",
        b"[" * MAX_BYTES,
        b'{"a": ' + b"9" * (MAX_BYTES - 10) + b"}",
        b'\\"' * (MAX_BYTES // 2),
        b'{"a": [' + b"NaN," * 1_000_000 + b"1]}",
    ],
)
def test_hostile_bytes_take_bounded_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        read_document(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 64 * 1024 * 1024


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_findings(data: bytes) -> None:
    result = read_document(data)

    assert (result.document is None) == bool(result.findings)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_what_json_writes_is_read_back(document: dict[str, object]) -> None:
    assert read_document(json.dumps(document).encode()).document == document
