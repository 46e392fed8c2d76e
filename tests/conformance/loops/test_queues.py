"""semantics.md sections 2.1 and 3: queues as nodes see them, tails, and merged readers."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.plans import loop, node, pop, produce, queue, read


def test_each_message_of_a_queue_is_an_iteration_in_order(rig: Rig) -> None:
    rig.backend.push("in", [{"n": n} for n in range(300)])
    running = rig.start(loop(read("r", "in"), node("tag", "tag", after="r"), queue("out", "out", after="tag")))
    rig.until(lambda: len(rig.payloads("out")) == 300)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    assert rig.payloads("out") == [{"n": n, "tags": ["tag"]} for n in range(300)]
    assert rig.payloads("in") == []
    stats = running.stats()
    assert (stats.iterations, stats.committed) == (300, 300)


def test_a_reader_waits_for_what_comes_later(rig: Rig) -> None:
    running = rig.start(loop(read("r", "in"), queue("out", "out", after="r")))
    for n in range(3):
        rig.backend.push("in", [{"n": n}])
        rig.until(lambda: len(rig.payloads("out")) == n + 1)  # noqa: B023 - asked now
    running.tell("drain")
    assert running.outcome().kind == "drained"


def test_merged_queues_say_where_a_message_came_from(rig: Rig) -> None:
    rig.backend.push("left", [{"n": n} for n in range(3)])
    rig.backend.push("right", [{"n": n} for n in range(3)])
    plan = loop(read("r", "left", "right"), node("effect", "effect", after="r"), queue("out", "out", after="effect"))
    running = rig.start(plan)
    rig.until(lambda: len(rig.payloads("out")) == 6)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    for source in ("left", "right"):
        assert [each["n"] for each in rig.payloads("out") if each["source"] == source] == [0, 1, 2]


@pytest.mark.parametrize(("on_empty", "expected"), [("skip", []), ("pass", [{"input": {"n": 1}, "message": None}])])
def test_a_reader_in_the_middle_that_finds_nothing_skips_or_passes(rig: Rig, on_empty: str, expected: object) -> None:
    rig.backend.push("other", [])
    plan = loop(
        produce("p", {"n": 1}),
        pop("r", "other", after="p", timeout_s=0.01, on_empty=on_empty),
        queue("out", "out", after="r"),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == expected


def test_a_reader_in_the_middle_that_finds_nothing_may_be_an_error(rig: Rig) -> None:
    plan = loop(produce("p", {"n": 1}), pop("r", "other", after="p", timeout_s=0, on_empty="error"))
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code) == ("r", "queue-empty")


def test_a_reader_in_the_middle_hands_on_input_and_message_and_acknowledges_with_the_iteration(rig: Rig) -> None:
    rig.backend.push("other", [{"m": 1}, {"m": 2}, {"m": 3}])
    plan = loop(
        produce("p", {"n": 1}, {"n": 2}),
        pop("r", "other", after="p", timeout_s=10),
        queue("out", "out", after="r"),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == [{"input": {"n": n}, "message": {"m": n}} for n in (1, 2)]
    rig.until(lambda: rig.payloads("other") == [{"m": 3}])


def test_pop_returns_none_when_nothing_comes_in_time(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}),
        node("now", "pop", after="p", pop_queues=("other",), source="other", timeout=0),
        node("soon", "pop", after="now", pop_queues=("other",), source="other", timeout=0.02),
        queue("out", "out", after="soon"),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.payloads("out") == [{"n": 1, "got": [None]}]


def test_pop_waits_for_a_message(rig: Rig) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        node("pop", "pop", after="p", pop_queues=("other",), source="other", journal=str(journal)),
        queue("out", "out", after="pop"),
    )
    running = rig.start(plan)
    rig.waits_in(journal)
    rig.backend.push("other", [{"m": 1}])
    assert running.outcome().kind == "completed"
    assert rig.payloads("out") == [{"n": 1, "got": [{"m": 1}]}]


def test_a_negative_timeout_is_refused(rig: Rig) -> None:
    plan = loop(
        produce("p", {"n": 1}), node("pop", "pop", after="p", pop_queues=("other",), source="other", timeout=-1)
    )
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.type) == ("pop", "ValueError")


def test_what_a_failed_iteration_popped_is_there_again_in_order(rig: Rig) -> None:
    rig.backend.push("other", [{"m": 1}, {"m": 2}, {"m": 3}])
    plan = loop(
        produce("p", {"n": 1}),
        node("pop", "pop", after="p", pop_queues=("other",), source="other", times=2),
        node("fail", "fail", after="pop", at=1),
        queue("out", "out", after="fail"),
    )
    assert rig.run(plan).kind == "failed"
    assert rig.run(replace(plan, steps=(*plan.steps[:2], replace(plan.steps[2], params={}), plan.steps[3]))).kind == (
        "completed"
    )
    assert rig.payloads("out") == [{"n": 1, "got": [{"m": 1}, {"m": 2}]}]


def test_drain_ends_a_pop_at_once_and_the_iteration_is_as_if_it_never_was(rig: Rig) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        queue("before", "before", after="p"),
        node("pop", "pop", after="before", pop_queues=("other",), source="other", journal=str(journal)),
    )
    running = rig.start(plan)
    rig.waits_in(journal)
    start = time.monotonic()
    running.tell("drain")
    assert running.outcome().kind == "drained"
    assert time.monotonic() - start < 5
    assert rig.payloads("before") == []


def test_a_node_may_catch_that_its_wait_ended_and_finish_its_iteration(rig: Rig) -> None:
    journal = rig.folder / "journal"
    plan = loop(
        produce("p", {"n": 1}),
        node("pop", "stubborn", after="p", pop_queues=("other",), source="other", journal=str(journal)),
        queue("out", "out", after="pop"),
    )
    running = rig.start(plan)
    rig.waits_in(journal)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    assert rig.payloads("out") == [{"n": 1, "caught": True}]


def test_a_non_blocking_node_sends_each_item_with_its_handle_to_its_tail(rig: Rig) -> None:
    items = [{"n": 1}, {"route": "odd", "data": {"n": 2}}]
    plan = loop(
        produce("p", {"n": 0}),
        node("nb", "returns", after="p", tail_queue="w~l~nb", output=items),
        queue("out", "out", after="p"),
    )
    assert rig.run(plan).kind == "completed"
    assert rig.backend.contents("w~l~nb") == [({"n": 1}, None), ({"n": 2}, {"handle": "odd"})]
    assert rig.payloads("out") == [{"n": 0}]


def test_a_tail_goes_on_where_its_node_ended_along_the_same_handles(rig: Rig) -> None:
    items = [{"n": 1}, {"route": "odd", "data": {"n": 2}}, {"n": 3}]
    head = loop(produce("p", {"n": 0}), node("nb", "returns", after="p", tail_queue="w~l~nb", output=items))
    tail = loop(
        read("r", "w~l~nb"),
        queue("plain", "plain", after="r"),
        queue("odd", "odd", after="r:odd"),
        name="l~nb",
        tail_of="l",
    )
    rig.enter(head, tail)
    running = rig.start(tail)
    assert rig.run(head).kind == "completed"
    assert running.outcome().kind == "completed"
    assert rig.payloads("plain") == [{"n": 1}, {"n": 3}]
    # A plain output goes along every edge, a Route along its own only.
    assert rig.payloads("odd") == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_headers_travel_with_what_is_made_of_a_message(rig: Rig) -> None:
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    rig.backend.push("in", [{"n": 1}], headers={**trace, "origin": "x/y/1"})
    running = rig.start(loop(read("r", "in"), node("tag", "tag", after="r"), queue("out", "out", after="tag")))
    rig.until(lambda: rig.payloads("out"))
    running.tell("drain")
    running.outcome()
    assert rig.backend.contents("out") == [({"n": 1, "tags": ["tag"]}, trace)]
