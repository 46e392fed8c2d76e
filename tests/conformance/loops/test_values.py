"""semantics.md section 2.1: what nodes return, and where it goes."""

from __future__ import annotations

import pytest

from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.plans import loop, node, produce, queue


def test_a_mapping_goes_along_all_edges_but_those_of_errors(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        queue("plain", "plain", after="p"),
        queue("named", "named", after="p:a"),
        queue("errors", "errors", after="p:error"),
    )
    assert rig.run(plan).kind == "completed"
    assert [rig.payloads("plain"), rig.payloads("named"), rig.payloads("errors")] == [[{"n": 1}], [{"n": 1}], []]


def test_none_ends_the_branch_and_no_other(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("none", "returns", after="p", output=None),
        queue("below", "below", after="none"),
        queue("beside", "beside", after="p"),
    )
    assert rig.run(plan).kind == "completed"
    assert (rig.payloads("below"), rig.payloads("beside")) == ([], [{"n": 1}])


def test_a_route_takes_the_edges_of_its_handle_only(rig: Rig) -> None:
    plan = loop(
        produce("p", {"route": "a", "data": {"n": 1}}, {"route": "b", "data": {"n": 2}}),
        queue("a", "qa", after="p:a"),
        queue("b", "qb", after="p:b"),
        queue("plain", "plain", after="p"),
    )
    assert rig.run(plan).kind == "completed"
    assert (rig.payloads("qa"), rig.payloads("qb"), rig.payloads("plain")) == ([{"n": 1}], [{"n": 2}], [])


def test_a_handle_without_an_edge_is_the_nodes_error(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("lost", "returns", after="p", output={"route": "nowhere", "data": {}}),
        queue("out", "out", after="lost:somewhere"),
    )
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.code) == ("failed", "lost", "bad-output")


def test_what_no_edge_can_take_is_the_nodes_error(rig: Rig) -> None:
    plan = loop(produce("p", {"n": 1}), node("odd", "returns", after="p", output=3.5))
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code) == ("odd", "bad-output")


def test_a_list_runs_what_is_below_once_per_item_depth_first(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("outer", "spread", after="p", items=2),
        node("inner", "spread", after="outer", items=2),
        queue("first", "out", after="inner"),
        node("tag", "tag", after="inner"),
        queue("second", "out", after="tag"),
    )
    assert rig.run(plan).kind == "completed"
    seen = [(each["outer-item"], each["inner-item"], "tags" in each) for each in rig.payloads("out")]
    assert seen == [(outer, inner, tagged) for outer in (0, 1) for inner in (0, 1) for tagged in (False, True)]


def test_end_iteration_commits_what_was_pushed_and_skips_the_rest(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}, {"n": 2}),
        queue("before", "before", after="p"),
        node("end", "returns", after="before", output="end"),
        queue("after", "after", after="end"),
        queue("beside", "beside", after="p"),
    )
    assert rig.run(plan).kind == "completed"
    assert (rig.payloads("before"), rig.payloads("after"), rig.payloads("beside")) == ([{"n": 1}, {"n": 2}], [], [])


def test_end_iteration_in_a_list_ends_after_the_items_before_it(rig: Rig) -> None:
    plan = loop(produce("p", [{"n": 1}, "end", {"n": 2}], {"n": 3}), queue("out", "out", after="p"))
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == [{"n": 1}, {"n": 3}]


def test_a_branch_does_not_see_what_another_did_to_the_same_output(rig: Rig) -> None:
    plan = loop(
        produce("p", {"tags": [], "deep": {"list": [1]}}),
        node("one", "tag", after="p"),
        node("two", "tag", after="p"),
        node("three", "tag", after="p"),
        *(queue(f"from-{name}", name, after=name) for name in ("one", "two", "three")),
    )
    assert rig.run(plan).kind == "completed"
    assert [rig.payloads(name)[0]["tags"] for name in ("one", "two", "three")] == [["one"], ["two"], ["three"]]


def test_a_join_of_all_has_the_payloads_by_target_handle_or_source(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("a", "returns", after="p", output={"a": 1}),
        node("b", "returns", after="p", output={"b": 2}),
        queue("out", "out", after=("a", "b right")),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == [{"a": {"a": 1}, "right": {"b": 2}}]


def test_a_join_of_all_passes_on_the_only_one_that_was_not_skipped(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("a", "returns", after="p", output=None),
        node("b", "returns", after="p", output={"b": 2}),
        queue("out", "out", after=("a", "b")),
        node("c", "returns", after="a", output={}),
        queue("skipped", "skipped", after=("a", "c")),
    )
    assert rig.run(plan).kind == "completed"
    assert (rig.payloads("out"), rig.payloads("skipped")) == ([{"b": 2}], [])


@pytest.mark.parametrize(("join", "expected"), [("any", [{"a": 1}]), ("each", [{"a": 1}, {"b": 2}])])
def test_a_join_of_any_runs_once_and_a_join_of_each_once_per_arrival(rig: Rig, join: str, expected: object) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("a", "returns", after="p", output={"a": 1}),
        node("b", "returns", after="p", output={"b": 2}),
        queue("out", "out", after=("a", "b"), join=join),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == expected


def test_a_list_that_opens_inside_a_join_of_all_is_the_nodes_error(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("many", "spread", after="p", items=2),
        node("one", "tag", after="p"),
        node("join", "tag", after=("many", "one")),
    )
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code) == ("many", "bad-output")


def test_a_join_of_each_takes_the_items_of_a_list_and_what_comes_beside(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("many", "spread", after="p", items=2),
        node("one", "tag", after="p"),
        queue("out", "out", after=("many", "one"), join="each"),
    )
    assert rig.run(plan).kind == "completed"
    assert [each.get("many-item", "tagged") for each in rig.payloads("out")] == [0, 1, "tagged"]
