from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflow.drawing import Drawing


def messages(uses: str = "t.strict", **params: Any) -> list[tuple[str, str]]:
    drawing = Drawing().producer("p").blocking("b", uses=uses, with_=params).edge("p", "b")
    return [
        (finding.pointer.removeprefix("/nodes/1/data/with"), finding.message) for finding in drawing.checked().findings
    ]


@pytest.mark.parametrize(
    ("params", "pointer", "message"),
    [
        ({"path": 5}, "/path", "'path' of 't.strict' must be a string, not an integer"),
        ({"path": "x", "limit": "9"}, "/limit", "'limit' of 't.strict' must be an integer, not a string"),
        ({"path": "x", "limit": True}, "/limit", "'limit' of 't.strict' must be an integer, not a boolean"),
        ({"path": "x", "note": 3}, "/note", "'note' of 't.strict' must be a string or null, not an integer"),
        ({"path": "x", "names": [1]}, "/names/0", "'names.0' of 't.strict' must be a string, not an integer"),
        ({"path": "x", "names": ["a", "a"]}, "/names", "'names' of 't.strict' breaks the rule uniqueItems: True"),
        ({"path": "x", "ratio": 2}, "/ratio", "'ratio' of 't.strict' must be at most 1"),
        ({"path": "x", "mode": "slow"}, "/mode", "'mode' of 't.strict' must be \"fast\" or \"safe\""),
        ({"path": "x", "every": -1}, "/every", "'every' of 't.strict' must be at least 0"),
        ({"path": "x", "every": "soon"}, "/every", "'every' of 't.strict' must match ^[0-9]+s$"),
        ({"path": "x", "every": []}, "/every", "'every' of 't.strict' must be a number or a string, not an array"),
        ({}, "/path", "'path' of 't.strict' is missing: a string is expected"),
        ({"path": "x", "limits": 3}, "/limits", "'limits' is no parameter of 't.strict'; did you mean 'limit'?"),
    ],
)
def test_a_wrong_parameter_names_field_expectation_and_node_type(
    params: dict[str, Any], pointer: str, message: str
) -> None:
    assert messages(**params) == [(pointer, message)]


def test_all_wrong_parameters_are_reported_together() -> None:
    assert [pointer for pointer, _ in messages(path=1, limit="x", other=2)] == ["/limit", "/other", "/path"]


def test_a_value_is_never_repeated_since_it_may_be_a_password() -> None:
    assert "hunter2" not in str(messages(path="x", limit="hunter2", mode="hunter2", ratio="hunter2", hunter="hunter2"))


@pytest.mark.parametrize("field", ["path", "note", "mode"])
def test_a_secret_may_stand_wherever_a_string_is_expected(field: str) -> None:
    assert messages(**dict[str, Any]({"path": "x", field: {"$secret": "db-password"}})) == []


def test_a_secret_may_stand_in_an_array_of_strings() -> None:
    assert messages(path="x", names=[{"$secret": "a"}, {"$secret": "b"}]) == []


def test_a_secret_is_no_number() -> None:
    assert messages(path="x", limit={"$secret": "a"}) == [
        ("/limit", "'limit' of 't.strict' must be an integer, not a secret")
    ]


def test_a_secret_stays_a_reference_in_the_plan() -> None:
    drawing = Drawing().producer("p").blocking("b", uses="t.strict", with_={"path": {"$secret": "a"}}).edge("p", "b")

    assert drawing.plan("p").steps[1].params == {"path": {"$secret": "a"}}


def test_a_schema_is_never_fetched() -> None:
    drawing = Drawing().producer("p").blocking("b", uses="t.remote", with_={"a": 1}).edge("p", "b")

    (finding,) = drawing.checked().findings

    assert finding.code == "bad-schema"
    assert "127.0.0.1" in finding.message


def test_a_simple_schema_needs_no_jsonschema() -> None:
    assert messages("t.flat", n=5) == []
    assert messages("t.flat") == []
    assert messages("t.flat", n=5.0) == []
    assert messages("t.flat", n="5") == [("/n", "'n' of 't.flat' must be an integer, not a string")]
