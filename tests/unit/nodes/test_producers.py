"""generate, timer and host.metrics."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from treadle.clock import DrivenClock
from treadle.nodes.generate import Generate
from treadle.nodes.host_metrics import HostMetrics
from treadle.nodes.timer import Timer, TimerParams
from treadle.testing import run_node


def test_generate_counts_up_to_its_limit() -> None:
    run = run_node(Generate, {"limit": 3, "start": 5, "value": {"kind": "demo"}})

    assert [item["n"] for item in run.items] == [5, 6, 7]
    assert run.items[0] == {"kind": "demo", "n": 5}
    assert run.completed


def test_generate_goes_on_from_its_state() -> None:
    before = run_node(Generate, {"limit": 5}, limit=2)

    after = run_node(Generate, {"limit": 5}, state=before.state)

    assert [item["n"] for item in before.items + after.items] == [0, 1, 2, 3, 4]


def test_a_timer_fires_at_once_and_then_by_its_interval() -> None:
    run = run_node(Timer, {"interval": "10s", "limit": 3}, clock=DrivenClock(1_000.0))

    assert [item["scheduled"] for item in run.items] == [1_000.0, 1_010.0, 1_020.0]
    assert [item["n"] for item in run.items] == [0, 1, 2]
    assert run.items[0]["time"] == "1970-01-01T00:16:40Z"


def test_a_timer_makes_nothing_up_after_a_pause() -> None:
    before = run_node(Timer, {"interval": "10s"}, limit=1, clock=DrivenClock(1_000.0))

    after = run_node(Timer, {"interval": "10s"}, limit=2, state=before.state, clock=DrivenClock(1_047.0))

    assert [item["scheduled"] for item in after.items] == [1_040.0, 1_050.0]
    assert [item["n"] for item in after.items] == [1, 2]


def test_a_timer_follows_cron_in_its_time_zone() -> None:
    noon_utc = 1_700_049_600.0  # 2023-11-15T12:00:00Z
    params = {"cron": "30 14 * * *", "timezone": "Europe/Berlin"}

    run = run_node(Timer, params, limit=2, clock=DrivenClock(noon_utc))

    assert [item["time"] for item in run.items] == ["2023-11-15T13:30:00Z", "2023-11-16T13:30:00Z"]


def test_a_cron_timer_fires_once_for_what_it_missed() -> None:
    state = {"fired": {"n": 4, "scheduled": 1_700_049_600.0}}

    run = run_node(Timer, {"cron": "0 * * * *"}, limit=2, state=state, clock=DrivenClock(1_700_049_600.0 + 10_000))

    assert [item["time"] for item in run.items] == ["2023-11-15T14:00:00Z", "2023-11-15T15:00:00Z"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"interval": 1, "cron": "* * * * *"},
        {"interval": 0},
        {"interval": "fast"},
        {"cron": "often"},
        {"cron": "* * * * *", "timezone": "Mars/Base"},
    ],
)
def test_a_timer_needs_one_schedule_that_makes_sense(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TimerParams.model_validate(params)


def test_host_metrics_samples_this_machine() -> None:
    run = run_node(HostMetrics, {"disk": "/"}, limit=2)

    sample = run.items[1]
    assert sample["time"] > run.items[0]["time"]
    assert 0 <= sample["cpu"]["percent"] <= 100
    assert sample["cpu"]["count"] == len(sample["cpu"]["each"])
    assert 0 < sample["memory"]["used"] <= sample["memory"]["total"]
    assert 0 < sample["disk"]["percent"] <= 100
    assert sample["network"]["received_per_s"] >= 0
