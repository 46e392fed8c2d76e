"""semantics.md sections 2 and 2.3: how loops begin, wait, end and complete."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.conformance.loops.conftest import POOLS, Rig
from tests.conformance.loops.plans import loop, node, produce, queue, read
from treadle.loop import Health


def test_nodes_are_opened_in_order_finished_in_order_and_closed(rig: Rig) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        node("a", "journal", after="p", journal=str(journal)),
        node("b", "journal", after="a", journal=str(journal)),
    )
    assert rig.run(plan).kind == "completed"
    lines = journal.read_text("utf-8").split("\n")[:-1]
    assert lines == [f"{name} {event}" for event in ("open", "execute", "finish") for name in "ab"] + [
        "b close",
        "a close",
    ]


@pytest.mark.parametrize("event", ["open", "execute", "finish"])
def test_whatever_fails_every_node_that_was_opened_is_closed(rig: Rig, event: str) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        node("a", "journal", after="p", journal=str(journal)),
        node("b", "journal", after="a", journal=str(journal), fail=event),
    )
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.type) == ("failed", "b", "RuntimeError")
    lines = journal.read_text("utf-8").splitlines()
    assert lines[-2:] == ["b close", "a close"]


def test_finish_flows_on_as_an_iteration_before_the_loop_completes(rig: Rig) -> None:
    plan = loop(
        produce("p", uses="count", limit=10),
        node("one", "sum", after="p"),
        node("two", "sum", after="p"),
        queue("out", "out", after=("one", "two")),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == [{"from": "one", "sum": 45}, {"from": "two", "sum": 45}]


def test_completion_goes_down_from_loop_to_loop(rig: Rig) -> None:
    plans = (
        loop(produce("p", uses="count", limit=100), queue("out", "q1", after="p"), name="one"),
        loop(read("r", "q1"), node("tag", "tag", after="r"), queue("out", "q2", after="tag"), name="two"),
        loop(read("r", "q2"), node("sum", "sum", after="r"), queue("out", "q3", after="sum"), name="three"),
    )
    rig.enter(*plans)
    running = [rig.start(plan) for plan in reversed(plans)]
    assert [each.outcome().kind for each in running] == ["completed"] * 3
    assert rig.payloads("q3") == [{"from": "sum", "sum": 4950}]


def test_a_queue_with_two_writers_ends_with_the_last_of_them(rig: Rig) -> None:
    one = loop(produce("p", {"n": 1}), queue("out", "q", after="p"), name="one")
    two = loop(produce("p", {"n": 2}), queue("out", "q", after="p"), name="two")
    reader = loop(read("r", "q"), queue("out", "out", after="r"), name="reader")
    rig.enter(one, two, reader)
    running = rig.start(reader)
    assert rig.run(one).kind == "completed"
    rig.until(lambda: rig.payloads("out") == [{"n": 1}])
    assert running.stats().iterations == 1
    assert rig.run(two).kind == "completed"
    assert running.outcome().kind == "completed"
    assert sorted(each["n"] for each in rig.payloads("out")) == [1, 2]


def test_an_external_queue_does_not_end(rig: Rig) -> None:
    writer = loop(produce("p", {"n": 1}), queue("out", "q", after="p"), name="writer")
    reader = loop(read("r", "q"), queue("out", "out", after="r"), name="reader")
    rig.enter(writer, reader)
    running = rig.start(reader, never_ends=("q",))
    assert rig.run(writer).kind == "completed"
    rig.until(lambda: rig.payloads("out") == [{"n": 1}])
    rig.backend.push("q", [{"n": 2}])
    rig.until(lambda: rig.payloads("out") == [{"n": 1}, {"n": 2}])
    running.tell("drain")
    assert running.outcome().kind == "drained"


def test_a_loop_that_completed_stays_so(rig: Rig) -> None:
    plan = loop(produce("p", {"n": 1}), queue("out", "out", after="p"))
    assert rig.run(plan).kind == "completed"
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == [{"n": 1}]


def test_drain_ends_an_idle_loop_at_once(rig: Rig) -> None:
    running = rig.start(loop(produce("p", {"idle": 3600}, {"n": 1}), queue("out", "out", after="p")))
    rig.until(lambda: running.stats().idle_ticks)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    assert rig.payloads("out") == []


def test_drain_ends_a_reader_that_waits(rig: Rig) -> None:
    running = rig.start(loop(read("r", "in"), queue("out", "out", after="r")))
    rig.backend.push("in", [{"n": 1}])
    rig.until(lambda: rig.payloads("out"))
    running.tell("drain")
    assert running.outcome().kind == "drained"


def test_drain_commits_all_that_is_in_flight(rig: Rig) -> None:
    running = rig.start(loop(produce("p", uses="count", limit=10**9), queue("out", "out", after="p"), max_in_flight=64))
    rig.until(lambda: rig.payloads("out"))
    running.tell("drain")
    assert running.outcome().kind == "drained"
    numbers = [each["n"] for each in rig.payloads("out")]
    assert numbers == list(range(len(numbers)))
    if len(numbers) < 10_000:  # as many as can be looked at
        assert running.stats().committed == len(numbers)


def test_drain_ends_a_nodes_own_wait(rig: Rig) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        node("wait", "wait", after="p", seconds=3600, journal=str(journal)),
        queue("out", "out", after="wait"),
    )
    running = rig.start(plan)
    rig.waits_in(journal)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    assert rig.payloads("out") == [{"n": 1, "whole": False, "stopping": True}]


def test_a_nodes_wait_lasts_as_long_as_it_asked_for(rig: Rig) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        node("wait", "wait", after="p", seconds=0.05, journal=str(journal)),
        queue("out", "out", after="wait"),
    )
    start = time.monotonic()
    assert rig.run(plan).kind == "completed"
    assert time.monotonic() - start >= 0.05
    assert rig.payloads("out") == [{"n": 1, "whole": True, "stopping": False}]


def test_a_paused_loop_starts_no_iteration_until_it_is_resumed(rig: Rig) -> None:
    running = rig.start(loop(read("r", "in"), queue("out", "out", after="r")))
    rig.backend.push("in", [{"n": 1}])
    rig.until(lambda: rig.payloads("out"))
    running.tell("pause")
    assert running.stats().iterations == 1  # what answers this has been told to pause before
    rig.backend.push("in", [{"n": 2}])
    assert running.stats().iterations == 1
    running.tell("resume")
    rig.until(lambda: len(rig.payloads("out")) == 2)
    running.tell("drain")
    assert running.outcome().kind == "drained"


def test_ticks_come_while_the_loop_is_idle_and_flow_on(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}, then="idle"),
        node("tick", "ticking", after="p"),
        queue("out", "out", after="tick"),
    )
    running = rig.start(plan)
    rig.until(lambda: len(rig.payloads("out")) >= 4)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    times = [each["tick"] for each in rig.payloads("out") if "tick" in each]
    assert all(later - earlier >= 0.005 for earlier, later in itertools.pairwise(times))
    assert abs(times[0] - time.time()) < 60


def test_ticks_come_while_a_reader_waits(rig: Rig) -> None:
    running = rig.start(loop(read("r", "in"), node("tick", "ticking", after="r"), queue("out", "out", after="tick")))
    rig.until(lambda: len(rig.payloads("out")) >= 3)
    running.tell("drain")
    assert running.outcome().kind == "drained"


def test_an_interval_is_the_least_time_between_two_calls(rig: Rig) -> None:
    start = time.monotonic()
    assert rig.run(loop(produce("p", *({"n": n} for n in range(4))), interval_s=0.03)).kind == "completed"
    assert time.monotonic() - start >= 4 * 0.03


def test_figures_tell_iterations_idle_ticks_failures_and_health(rig: Rig) -> None:
    plan = loop(
        produce("p", uses="count", limit=10),
        node("fail", "fail", after="p", at=4),
        queue("out", "out", after="fail"),
        node("never", "tag", after="p:error"),
    )
    running = rig.start(plan)
    assert running.outcome().kind == "failed"
    stats = running.stats()
    nodes = {each.node: each for each in stats.nodes}
    assert (stats.iterations, stats.committed, stats.errors, stats.in_flight) == (4, 4, 1, 0)
    assert (nodes["fail"].executions, nodes["fail"].failures, nodes["fail"].health) == (5, 1, Health.FAILING)
    assert (nodes["out"].executions, nodes["out"].health) == (4, Health.HEALTHY)
    assert (nodes["never"].executions, nodes["never"].health) == (0, Health.IDLE)
    assert nodes["fail"].last_error is not None
    assert nodes["fail"].last_error.message == "4 is not to be processed"


@pytest.mark.parametrize(("first", "second"), list(itertools.product(POOLS, POOLS)))
def test_two_loops_of_any_two_pools_are_joined_by_a_queue(redis_rig: Rig, first: str, second: str) -> None:
    writer = loop(produce("p", uses="count", limit=200), queue("out", "q", after="p"), name="writer")
    reader = loop(read("r", "q"), node("sum", "sum", after="r"), queue("out", "out", after="sum"), name="reader")
    redis_rig.enter(writer, reader)
    running = [redis_rig.start(reader, pool=second), redis_rig.start(writer, pool=first)]
    assert [each.outcome().kind for each in running] == ["completed", "completed"]
    assert redis_rig.payloads("out") == [{"from": "sum", "sum": 19_900}]
