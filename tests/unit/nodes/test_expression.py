"""CEL expressions: values, functions, and errors that say where and what."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.data import NodeData
from treadle.nodes.expression import Expression, ExpressionError, ExpressionSyntaxError

DATA: dict[str, Any] = {"place": "5km W of Castaic, CA", "n": 3, "f": 1.5, "none": None, "raw": b"x", "list": [1, 2]}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("data.n + 1", 4),
        ("double(data.n) * data.f", 4.5),
        ("data.f > 1.0 && data.n >= 1.0", True),
        ("data.place.substring(data.place.lastIndexOf(', ') + 2)", "CA"),
        ("data.place.split(' of ')[0]", "5km W"),
        ("math.round(data.f)", 2.0),
        ("data.list.map(x, x * 2)", [2, 4]),
        ("{'a': data.none}", {"a": None}),
        ("has(data.absent)", False),
        ("timestamp('2018-02-07T01:00:00Z') + duration('1h')", "2018-02-07T02:00:00Z"),
        ("duration('90s')", 90.0),
        ("first([1, 2])", 1),
        ("first([])", None),
        ("data.raw", b"x"),
    ],
)
def test_an_expression_gives_json_like_values(source: str, expected: object) -> None:
    assert Expression(source, where="set.x")(NodeData(DATA)) == expected


def test_variables_beside_the_data_can_be_used() -> None:
    assert Expression("item + data.n", where="set.x")(DATA, item=4) == 7


def test_what_is_not_cel_is_refused_and_the_parameter_named() -> None:
    with pytest.raises(ExpressionSyntaxError, match=r"set\.x: '1 \+' is not CEL") as caught:
        Expression("1 +", where="set.x")

    assert caught.value.details == {"field": "set.x", "expression": "1 +"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("data.absent", "no field 'absent'"),
        ("data.n + data.f", "Convert explicitly"),
        ("1 / 0", "division by zero"),
        ("nonsense(1)", "nonsense"),
    ],
)
def test_a_failure_names_parameter_and_expression_and_is_permanent(source: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as caught:
        Expression(source, where="where")(DATA)

    assert caught.value.details == {"field": "where", "expression": source}


def test_python_is_out_of_reach() -> None:
    with pytest.raises(ExpressionError):
        Expression("__import__('os')", where="where")(DATA)
