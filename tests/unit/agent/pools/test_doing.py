"""What a loop is said to be doing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.loop.activity import Activity
from treadle.workflow.plan import Plan, Step
from treadle_agent.pools.doing import Look, Watcher

FED = Plan(
    "w",
    "l",
    (
        Step("in", "queue-reader", queues=("orders",)),
        Step("work", "blocking", uses="x"),
        Step("more", "queue-reader", queue="prices"),
    ),
    "d",
)
MADE = Plan("w", "l", (Step("make", "producer", uses="x"), Step("work", "blocking", uses="x")), "d")
QUIET = Look(now=100.0, wall=1000.0, activity=None, iterations=7)


def later(seconds: float, look: Look = QUIET, **changes: object) -> Look:
    return replace(look, now=look.now + seconds, wall=look.wall + seconds, **changes)  # type: ignore[arg-type]


def test_a_loop_fed_by_a_queue_that_does_nothing_waits_for_input_since_it_was_first_seen_so() -> None:
    watcher = Watcher(FED)
    watcher.look(QUIET)
    found = watcher.look(later(30))

    assert (found.code, found.queue, found.since) == ("waiting-input", "orders", 1000.0)
    assert watcher.look(later(60)) == found


def test_how_long_a_loop_waits_is_not_known_while_it_gets_on() -> None:
    watcher = Watcher(FED)
    found = [watcher.look(later(at, iterations=7 + at)) for at in range(5)]

    assert {each.code for each in found} == {"waiting-input"}
    assert {each.since for each in found} == {0.0}


def test_an_iteration_in_between_begins_a_new_wait() -> None:
    watcher = Watcher(FED)
    watcher.look(QUIET)
    watcher.look(later(30, iterations=8))

    assert watcher.look(later(31, iterations=8)).since == 1030.0


def test_a_loop_with_a_producer_that_does_nothing_has_no_work_since_it_was_first_seen_so() -> None:
    watcher = Watcher(MADE)
    watcher.look(QUIET)
    found = watcher.look(later(30))

    assert (found.code, found.node, found.since) == ("no-work", "make", 1000.0)


def test_a_producer_that_is_seen_between_two_iterations_is_not_one_without_work() -> None:
    """As one of 20 iterations a second is at most looks, the first after its start included."""
    watcher = Watcher(MADE)
    found = [watcher.look(later(at, iterations=20 * at)) for at in range(5)]

    assert {(each.code, each.node, each.since) for each in found} == {("between-turns", "make", 0.0)}


@pytest.mark.parametrize("at_work", [None, Activity("work", 100.0, 1, None)])
def test_two_looks_that_follow_each_other_at_once_say_no_more_than_one(at_work: Activity | None) -> None:
    """As after the start of a loop."""
    watcher = Watcher(MADE)
    watcher.look(QUIET)
    found = watcher.look(later(0.07, activity=at_work))

    assert (found.code, found.since) == ("between-turns" if at_work is None else "working", 0.0)


def test_a_node_at_work_is_named_with_since_when() -> None:
    doing = Watcher(MADE).look(replace(QUIET, activity=Activity("work", 95.0, 2, None)))

    assert (doing.code, doing.node, doing.since, doing.attempt) == ("working", "work", 995.0, 2)


def test_a_node_that_waits_for_its_next_attempt_says_the_error_and_the_time() -> None:
    activity = Activity("work", 95.0, 1, 103.0)
    doing = Watcher(MADE).look(replace(QUIET, activity=activity, error="ValueError: no"))

    assert (doing.code, doing.attempt, doing.again_at, doing.message) == ("retrying", 2, 1003.0, "ValueError: no")


def test_a_reader_in_the_middle_of_a_plan_waits_for_its_own_queue() -> None:
    doing = Watcher(FED).look(replace(QUIET, activity=Activity("more", 95.0, 1, None)))

    assert (doing.code, doing.queue) == ("waiting-input", "prices")


def test_a_server_out_of_memory_is_told_from_one_that_refuses() -> None:
    assert Watcher(MADE).look(replace(QUIET, trouble="OOM command not allowed")).code == "out-of-memory"
    assert Watcher(MADE).look(replace(QUIET, trouble="LOADING Redis is loading")).code == "commit-refused"


def test_a_loop_that_is_refused_most_of_the_time_is_blocked_although_it_gets_on_now_and_then() -> None:
    watcher = Watcher(MADE)
    blocked = [
        watcher.look(
            replace(QUIET, now=100.0 + i, wall=1000.0 + i, iterations=i, blocked={"orders": 0.6 * i, "prices": 0.2 * i})
        )
        for i in range(1, 5)
    ]

    assert {(doing.code, doing.queue) for doing in blocked} == {("queue-full", "orders")}
    assert len({doing.since for doing in blocked}) == 1


def test_of_several_full_queues_the_one_is_told_that_was_waited_for_longest_since_the_last_look() -> None:
    watcher = Watcher(MADE)
    watcher.look(replace(QUIET, blocked={"orders": 50.0}))
    doing = watcher.look(later(1, blocked={"orders": 50.2, "prices": 0.7}))

    assert (doing.code, doing.queue) == ("queue-full", "prices")


@given(st.lists(st.tuples(st.floats(0.1, 5.0), st.floats(0.0, 1.0)), min_size=1, max_size=20))
def test_blocked_is_said_exactly_when_half_of_the_time_was(steps: list[tuple[float, float]]) -> None:
    watcher, now, blocked = Watcher(MADE), 100.0, 0.0
    watcher.look(replace(QUIET, now=now))
    for length, share in steps:
        before = blocked
        now, blocked = now + length, blocked + length * share
        doing = watcher.look(replace(QUIET, now=now, wall=900 + now, blocked={"q": blocked}))
        gained = blocked - before
        expected = gained > 0 and gained >= 0.5 * (now - (now - length))
        if abs(gained - 0.5 * length) > 1e-6:
            assert (doing.code == "queue-full") is expected
