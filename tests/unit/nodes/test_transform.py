"""transform, filter and switch."""

from __future__ import annotations

import pytest

from treadle.data import Route
from treadle.nodes.expression import ExpressionError
from treadle.nodes.filter import Filter
from treadle.nodes.switch import Switch
from treadle.nodes.transform import Transform
from treadle.testing import run_node


def test_a_transform_adds_calculated_fields() -> None:
    run = run_node(Transform, {"set": {"twice": "data.n * 2"}}, [{"n": 1}, {"n": 2}])

    assert run.items == [{"n": 1, "twice": 2}, {"n": 2, "twice": 4}]


def test_expressions_of_a_transform_see_the_input_only() -> None:
    run = run_node(Transform, {"set": {"n": "data.n + 1", "old": "data.n"}}, [{"n": 1}])

    assert run.items == [{"n": 2, "old": 1}]


def test_a_transform_can_drop_fields_or_all_that_it_did_not_make() -> None:
    dropping = run_node(Transform, {"drop": ["a"]}, [{"a": 1, "b": 2}])
    keeping_none = run_node(Transform, {"set": {"c": "data.a"}, "keep": False}, [{"a": 1, "b": 2}])

    assert dropping.items == [{"b": 2}]
    assert keeping_none.items == [{"c": 1}]


def test_a_transform_makes_one_output_per_element_of_a_list() -> None:
    params = {"each": "data.tags", "set": {"tag": "item", "of": "data.id"}, "keep": False}

    run = run_node(Transform, params, [{"id": 7, "tags": ["a", "b"]}, {"id": 8, "tags": []}])

    assert run.items == [{"tag": "a", "of": 7}, {"tag": "b", "of": 7}]


def test_each_must_give_a_list() -> None:
    with pytest.raises(ExpressionError, match="not a list"):
        run_node(Transform, {"each": "data.n"}, [{"n": 1}])


def test_a_filter_lets_through_what_fulfils_its_condition() -> None:
    run = run_node(Filter, {"where": "data.n % 2 == 0"}, [{"n": n} for n in range(5)])

    assert run.items == [{"n": 0}, {"n": 2}, {"n": 4}]


def test_a_filter_can_send_the_rest_along_a_handle() -> None:
    run = run_node(Filter, {"where": "data.n > 0", "rejected": "no"}, [{"n": 0}])

    assert run.outputs == [Route("no", {"n": 0})]


def test_a_condition_must_be_true_or_false() -> None:
    with pytest.raises(ExpressionError, match="not true or false"):
        run_node(Filter, {"where": "data.n"}, [{"n": 1}])


RULES = [{"when": "data.n > 10", "handle": "big"}, {"when": "data.n > 1", "handle": "some"}]


def test_a_switch_follows_the_first_rule_that_holds() -> None:
    run = run_node(Switch, {"rules": RULES, "otherwise": "few"}, [{"n": 20}, {"n": 5}, {"n": 0}])

    assert [route.handle for route in run.outputs] == ["big", "some", "few"]


def test_a_switch_can_follow_all_rules_that_hold() -> None:
    run = run_node(Switch, {"rules": RULES, "matches": "all"}, [{"n": 20}, {"n": 0}])

    assert [[route.handle for route in run.outputs[0]], run.outputs[1]] == [["big", "some"], None]
