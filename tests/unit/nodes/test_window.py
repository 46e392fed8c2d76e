"""window and aggregate."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from treadle.clock import DrivenClock
from treadle.data import Route
from treadle.nodes.aggregate import Aggregate
from treadle.nodes.expression import ExpressionError
from treadle.nodes.window import Window, WindowParams
from treadle.testing import Advance, run_node

SUM = {"total": {"op": "sum", "of": "data.x"}}


def items(*values: int, key: str = "a") -> list[dict[str, Any]]:
    return [{"x": value, "key": key} for value in values]


def test_a_window_by_count_closes_when_it_is_full() -> None:
    run = run_node(Window, {"count": 2}, items(1, 2, 3, 4), finish=False)

    assert [(w["start"], w["end"], w["count"]) for w in run.items] == [(0, 2, 2), (2, 4, 2)]
    assert [[item["x"] for item in w["items"]] for w in run.items] == [[1, 2], [3, 4]]


def test_each_group_has_windows_of_its_own() -> None:
    mixed = [*items(1), *items(10, key="b"), *items(2), *items(20, key="b")]

    run = run_node(Window, {"count": 2, "by": {"key": "data.key"}, "measures": SUM}, mixed)

    assert [(w["key"], w["total"]) for w in run.items] == [("a", 3), ("b", 30)]


def test_open_windows_are_emitted_when_the_loop_completes() -> None:
    run = run_node(Window, {"count": 5, "measures": SUM}, items(1, 2))

    assert run.items == [{"start": 0, "end": 5, "count": 2, "total": 3}]
    assert [name for name in run.state if name.startswith(("w|", "i|"))] == []


def test_open_windows_survive_a_restart() -> None:
    before = run_node(Window, {"count": 3}, items(1, 2), finish=False)

    after = run_node(Window, {"count": 3}, items(3), state=before.state, finish=False)

    assert before.items == []
    assert [[item["x"] for item in w["items"]] for w in after.items] == [[1, 2, 3]]


def test_a_window_by_time_closes_by_the_clock() -> None:
    steps: list[dict[str, Any] | Advance] = [*items(1), Advance(4), *items(2), Advance(7), *items(3)]

    run = run_node(Window, {"seconds": "10s", "measures": SUM}, steps, clock=DrivenClock(1_000.0), finish=False)

    assert run.items == [{"start": 1_000, "end": 1_010.0, "count": 2, "total": 3}]


def at(*times: float) -> list[dict[str, Any]]:
    return [{"t": time, "x": 1} for time in times]


def test_a_window_by_event_time_closes_when_a_later_item_passes_its_end() -> None:
    params = {"seconds": 10, "time": "data.t", "measures": SUM}

    run = run_node(Window, params, at(1, 5, 12, 9, 31), finish=False)

    assert [(w["start"], w["count"]) for w in run.items] == [(0, 2), (10, 1)]


def test_lateness_keeps_windows_open_for_items_that_are_late() -> None:
    params = {"seconds": 10, "time": "data.t", "lateness": 5, "measures": SUM}

    run = run_node(Window, params, at(1, 12, 9, 16), finish=False)

    assert [(w["start"], w["count"]) for w in run.items] == [(0, 2)]


def test_items_that_are_too_late_can_leave_by_a_handle() -> None:
    params = {"seconds": 10, "time": "data.t", "late": "late", "measures": SUM}

    run = run_node(Window, params, at(1, 20, 2), finish=False)

    assert run.outputs[2] == Route("late", {"t": 2, "x": 1})


def test_event_time_may_be_iso_8601() -> None:
    data = [{"t": "1970-01-01T00:00:01Z", "x": 1}, {"t": "1970-01-01T00:01:00+00:00", "x": 1}]

    run = run_node(Window, {"seconds": "10s", "time": "data.t", "measures": SUM}, data, finish=False)

    assert [w["start"] for w in run.items] == [0]


def test_a_window_shorter_than_a_second_works() -> None:
    params = {"seconds": "500ms", "time": "data.t", "measures": SUM}

    run = run_node(Window, params, at(0.1, 0.4, 0.6, 1.2), finish=False)

    assert [(w["start"], w["end"], w["count"]) for w in run.items] == [(0.0, 0.5, 2), (0.5, 1.0, 1)]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"seconds": 1, "count": 1},
        {"seconds": 0},
        {"count": 2, "time": "data.t"},
        {"count": 2, "by": {"start": "1"}},
        {"count": 2, "by": {"k": "1"}, "measures": {"k": {"op": "count"}}},
        {"count": 2, "measures": {"k": {"op": "sum"}}},
    ],
)
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WindowParams.model_validate(params)


ALL = {
    "n": {"op": "count"},
    "known": {"op": "count", "of": "data.x"},
    "sum": {"op": "sum", "of": "data.x"},
    "min": {"op": "min", "of": "data.x"},
    "max": {"op": "max", "of": "data.x"},
    "mean": {"op": "mean", "of": "data.x"},
    "first": {"op": "first", "of": "data.x"},
    "last": {"op": "last", "of": "data.x"},
}


def test_an_aggregate_tells_all_figures_when_the_loop_completes() -> None:
    data: list[dict[str, Any]] = [{"x": 2}, {"x": 4}, {"x": None}, {"x": 3}]

    run = run_node(Aggregate, {"measures": ALL}, data)

    assert run.items == [{"n": 4, "known": 3, "sum": 9, "min": 2, "max": 4, "mean": 3.0, "first": 2, "last": 3}]


def test_an_aggregate_tells_a_row_for_each_group_in_order() -> None:
    params = {"by": {"key": "data.key", "odd": "data.x % 2 == 1"}, "measures": SUM}

    run = run_node(Aggregate, params, [*items(1, 2, 3, key="b"), *items(4)])

    assert run.items == [
        {"key": "a", "odd": False, "total": 4},
        {"key": "b", "odd": False, "total": 2},
        {"key": "b", "odd": True, "total": 4},
    ]


def test_an_aggregate_goes_on_from_its_state() -> None:
    before = run_node(Aggregate, {"measures": SUM}, items(1, 2), finish=False)

    after = run_node(Aggregate, {"measures": SUM}, items(3), state=before.state)

    assert after.items == [{"total": 6}]


def test_an_aggregate_can_tell_after_every_few_items() -> None:
    run = run_node(Aggregate, {"measures": SUM, "every": 2, "at_end": False}, items(1, 2, 3, 4, 5))

    assert run.items == [{"total": 3}, {"total": 10}]


def test_an_aggregate_can_tell_at_an_interval_what_changed() -> None:
    params = {"by": {"key": "data.key"}, "measures": SUM, "interval": "10s", "at_end": False}
    steps: list[dict[str, Any] | Advance] = [
        *items(1),
        *items(2, key="b"),
        Advance(11),
        *items(3),
        Advance(11),
        Advance(11),
    ]

    run = run_node(Aggregate, params, steps)

    assert run.items == [{"key": "a", "total": 1}, {"key": "b", "total": 2}, {"key": "a", "total": 4}]


def test_a_sum_of_what_is_no_number_names_the_expression() -> None:
    with pytest.raises(ExpressionError, match=r"measures\.total\.of: sum can't take 'x'"):
        run_node(Aggregate, {"measures": SUM}, [{"x": "x"}])
