from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.workflow.plan import RestartPolicy
from treadle_agent.supervisor.restart import (
    HOST_BURST,
    HOST_PAUSE_S,
    OUTSIDE_BURST,
    REDIS_MAX_PAUSE_S,
    GiveUp,
    after_failure,
    after_host_death,
    after_outage,
)

POLICY = RestartPolicy()


def fail_at(policy: RestartPolicy, *times: float, jitter: float = 0.0) -> list[float | GiveUp]:
    failures: tuple[float, ...] = ()
    verdicts = []
    for now in times:
        verdict, failures = after_failure(policy, failures, now=now, jitter=jitter)
        verdicts.append(verdict)
    return verdicts


def test_the_first_restart_is_at_once_and_the_others_double() -> None:
    assert fail_at(POLICY, 0, 1, 2, 3, 4) == [0, 1, 2, 4, 8]


def test_the_sixth_failure_in_ten_minutes_is_the_last() -> None:
    *restarts, last = fail_at(POLICY, 0, 1, 2, 3, 4, 5)

    assert not any(isinstance(verdict, GiveUp) for verdict in restarts)
    assert last == GiveUp("it failed 6 times in 600 s")


def test_ten_calm_minutes_forget_everything() -> None:
    assert fail_at(POLICY, 0, 1, 2, 602, 603) == [0, 1, 2, 0, 1]


def test_failures_that_are_far_apart_never_end_a_loop() -> None:
    assert set(fail_at(POLICY, *range(0, 60_000, 600))) == {0}


def test_always_never_gives_up_and_waits_a_minute_at_most() -> None:
    policy = RestartPolicy(mode="always")

    assert fail_at(policy, *range(100))[-1] == 60


def test_never_gives_up_at_once() -> None:
    assert fail_at(RestartPolicy(mode="never"), 0) == [GiveUp("its restart policy is never")]


@given(
    mode=st.sampled_from(["on-failure", "always"]),
    gaps=st.lists(st.floats(0, 1_000), min_size=1, max_size=200),
    jitter=st.floats(0, 1, exclude_max=True),
    limit=st.integers(0, 10),
    window=st.floats(1, 1_000),
)
def test_no_more_restarts_happen_in_a_window_than_allowed_and_delays_stay_in_bounds(
    mode: str, gaps: list[float], jitter: float, limit: int, window: float
) -> None:
    policy = RestartPolicy(mode=mode, max_restarts=limit, window_s=window)  # type: ignore[arg-type]
    failures: tuple[float, ...] = ()
    restarts: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        verdict, failures = after_failure(policy, failures, now=now, jitter=jitter)
        if isinstance(verdict, GiveUp):
            assert mode == "on-failure"
            break
        restarts.append(now)
        assert 0 <= verdict <= policy.max_backoff_s
        assert len(failures) <= max(limit + 1, 64)
        if mode == "on-failure":
            assert len([at for at in restarts if now - at < window]) <= limit


@given(jitter=st.floats(0, 1, exclude_max=True), count=st.integers(1, 10_000))
def test_jitter_takes_off_half_at_most(jitter: float, count: int) -> None:
    policy = RestartPolicy(mode="always")
    plain, _ = after_failure(policy, (0.0,) * (count % 63), now=1.0, jitter=0.0)
    jittered, _ = after_failure(policy, (0.0,) * (count % 63), now=1.0, jitter=jitter)

    assert not isinstance(plain, GiveUp)
    assert not isinstance(jittered, GiveUp)
    assert plain / 2 <= jittered <= plain


@pytest.mark.parametrize(("attempts", "expected"), [(0, 0.25), (1, 0.5), (4, 4.0), (1_000_000, REDIS_MAX_PAUSE_S)])
def test_a_redis_that_is_away_is_asked_less_and_less_often(attempts: int, expected: float) -> None:
    assert after_outage(attempts, jitter=0.0) == expected


@pytest.mark.parametrize(("outside", "burst"), [(False, HOST_BURST), (True, OUTSIDE_BURST)])
def test_a_host_that_goes_on_dying_is_started_once_a_second(outside: bool, burst: int) -> None:
    deaths: tuple[float, ...] = ()
    delays = []
    for now in range(burst + 3):
        delay, deaths = after_host_death(deaths, now=now / 10, outside=outside)
        delays.append(delay)

    assert delays == [0.0] * burst + [HOST_PAUSE_S] * 3
    assert after_host_death(deaths, now=100.0, outside=outside)[0] == 0.0
