"""Counts of a replica over all agents and incarnations: nothing is lost, nothing doubled."""

from __future__ import annotations

from typing import Any

from treadle.telemetry.counts import Counts
from treadle.v1 import loop_pb2
from treadle_controller.leader.tally import Tally


def report(since: int, **counted: Any) -> loop_pb2.LoopStatus:
    status = loop_pb2.LoopStatus(**counted)
    if since:
        status.since_time.FromSeconds(since)
    return status


def node(executions: int, durations: list[int], failures: int = 0) -> loop_pb2.NodeStatus:
    return loop_pb2.NodeStatus(node="n", executions=executions, failures=failures, duration_log2_ns=durations)


def test_an_agent_that_counts_more_than_the_one_before_had_is_still_another_one() -> None:
    tally = Tally()
    tally.take(report(1, errors=2, retries=1))
    tally.take(report(2, errors=5, retries=4))
    tally.take(report(2, errors=6, retries=4))

    assert tally.errors == tally.total().errors == 8
    assert tally.total().retries == 5


def test_an_agent_that_says_its_count_again_is_counted_once() -> None:
    tally = Tally()
    for _ in range(3):
        tally.take(report(1, errors=2, idle_ticks=5, dead_letters=1, nodes=[node(7, [0, 5], 2)]))

    total = tally.total()
    assert (total.errors, total.idle_ticks, total.dead_letters) == (2, 5, 1)
    assert (total.nodes["n"].executions, total.nodes["n"].durations, total.nodes["n"].failures) == (7, [0, 5], 2)


def test_what_ended_incarnations_counted_stays_and_so_does_what_a_dead_agent_did() -> None:
    blocked = [loop_pb2.QueueBlocked(queue="q", seconds=1.5)]
    past = loop_pb2.LoopPast(idle_ticks=3, untouched=4, nodes=[node(4, [1])], blocked=blocked)
    tally = Tally()
    tally.take(report(1, idle_ticks=1, nodes=[node(2, [0, 2])], blocked=blocked, past=past))
    tally.take(report(2, idle_ticks=10, nodes=[node(1, [0, 0, 1])]))

    total = tally.total()
    assert (total.idle_ticks, total.blocked) == (14, {"q": 3.0})
    assert (total.nodes["n"].executions, total.nodes["n"].durations) == (7, [1, 2, 1])
    assert tally.untouched == 4, "of the agent before, whose iterations Redis does not know"


def test_of_an_older_agent_it_is_told_by_what_it_counts_less() -> None:
    tally = Tally(errors=10)
    for errors in (3, 4, 1, 2):
        tally.take(report(0, errors=errors))

    assert tally.errors == 16


def test_counts_are_added_to_counts() -> None:
    one = Counts()
    one.add(report(1, errors=1, duration_log2_ns=[1], nodes=[node(1, [1])]))
    both = Counts()
    both.add_counts(one)
    both.add_counts(one)

    assert (both.errors, both.durations, both.nodes["n"].executions) == (2, [2], 2)
    assert one.nodes["n"].executions == 1, "which is left as it was"
