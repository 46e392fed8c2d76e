from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflow.drawing import Drawing, compiled, nodes_of, plan, shop
from treadle.workflow import workflow_name
from treadle.workflow.plan import Input, Placement, QueueLimits, Resources, RestartPolicy, RetryPolicy


def test_a_producer_and_all_that_it_reaches_are_one_loop() -> None:
    result = shop().compiled()

    assert [plan.loop for plan in result.plans] == ["orders", "tick", "tick~send"]
    assert nodes_of(plan(result, "tick")) == ["tick", "check", "out", "send"]
    assert nodes_of(plan(result, "tick~send")) == ["send", "after"]


def test_a_loop_is_named_by_its_container() -> None:
    drawing = (
        Drawing()
        .node("box", "loop", pool="process", replicas=1)
        .node("named", "loop", name="fast", interval=2)
        .node("frame", "group", parent="box")
        .node("p", "producer", parent="frame")
        .node("q", "producer", parent="named", pool="asyncio")
        .node("n", "non-blocking", parent="box")
        .node("t", "blocking", parent="box")
        .path("p", "n", "t")
    )

    plans = {plan.loop: plan for plan in drawing.compiled().plans}

    assert list(plans) == ["box", "box~n", "fast"]
    assert [plans[name].pool for name in plans] == ["process", "process", "asyncio"]
    assert plans["fast"].interval_s == 2.0


def test_a_binding_names_the_queue_for_the_end_that_does_not() -> None:
    def queues(pushed: dict[str, Any], popped: dict[str, Any]) -> list[str]:
        drawing = Drawing().producer("p").queue("q", **pushed).reader("r", **popped).path("p", "q", "r")
        (queue,) = drawing.compiled().queues
        assert (queue.writers, queue.readers) == (("p",), ("r",))
        return [queue.name, str(drawing.plan("p").steps[1].queue), *drawing.plan("r").steps[0].queues]

    assert queues({"queue": "a"}, {}) == ["a"] * 3
    assert queues({}, {"queue": "a"}) == ["a"] * 3
    assert queues({"queue": "a"}, {"queue": "a"}) == ["a"] * 3
    assert queues({}, {"queues": ["a"]}) == ["a"] * 3
    assert queues({}, {}) == ["flow~q"] * 3


def test_a_reader_bound_to_several_queues_merges_them() -> None:
    drawing = (
        Drawing()
        .producer("p")
        .queue("b", queue="bb")
        .queue("a")
        .reader("r")
        .path("p", "b", "r")
        .path("p", "a", "r")
    )  # fmt: skip

    assert drawing.plan("r").steps[0].queues == ("bb", "flow~a")
    assert drawing.plan("r").reads == ("bb", "flow~a")


def test_a_reader_in_mid_chain_is_a_step_of_its_loop() -> None:
    drawing = (
        Drawing()
        .producer("p")
        .reader("r", timeout="250ms", on_empty="pass", external=True)
        .producer("other")
        .queue("q", queue="answers")
        .path("p", "r")
        .path("other", "q", "r")
    )

    step = next(step for step in drawing.plan("p").steps if step.node == "r")

    assert (step.kind, step.queue, step.queues, step.timeout_s, step.on_empty) == (
        "queue-reader", "answers", (), 0.25, "pass",
    )  # fmt: skip
    assert [given.source for given in step.inputs] == [0]


def test_what_hangs_below_a_non_blocking_node_is_a_loop_fed_by_a_hidden_queue() -> None:
    drawing = (
        Drawing()
        .producer("p", pool="asyncio", interval=5, iteration_timeout="1m")
        .non_blocking("n")
        .blocking("good", "bad", "end")
        .edge("p", "n")
        .edge("n", "bad", sourceHandle="error")
        .edge("n", "good", sourceHandle="ok", targetHandle="in")
        .path("good", "end")
    )
    result = drawing.compiled()
    loop, tail = plan(result, "p"), plan(result, "p~n")

    assert [step.tail_queue for step in loop.steps] == [None, "flow~p~n"]
    assert (loop.tails, loop.tail_of, tail.tails, tail.tail_of) == (("p~n",), None, (), "p")
    assert (tail.steps[0].node, tail.steps[0].kind, tail.steps[0].queues) == ("n", "queue-reader", ("flow~p~n",))
    assert nodes_of(tail) == ["n", "bad", "good", "end"]
    assert tail.steps[1].inputs == (Input(0, "error", "n"),)
    assert tail.steps[2].inputs == (Input(0, "ok", "in"),)
    assert (tail.pool, tail.iteration_timeout_s, tail.interval_s, loop.interval_s) == ("asyncio", 60.0, 0.0, 5.0)
    (queue,) = result.queues
    assert (queue.name, queue.hidden, queue.writers, queue.readers) == ("flow~p~n", True, ("p",), ("p~n",))
    assert "flow~p~n" in loop.writes
    assert "flow~p~n" in tail.reads


def test_a_tail_of_queue_nodes_only_joins_the_iteration() -> None:
    drawing = (
        Drawing()
        .producer("p")
        .non_blocking("n")
        .queue("a", queue="a")
        .queue("b", queue="b")
        .edge("p", "n")
        .edge("n", "a", sourceHandle="x")
        .edge("a", "b")
    )
    result = drawing.compiled()

    assert [plan.loop for plan in result.plans] == ["p"]
    assert nodes_of(result.plans[0]) == ["p", "n", "a", "b"]
    assert result.plans[0].steps[1].tail_queue is None
    assert result.plans[0].steps[2].inputs == (Input(1, "x", "n"),)
    assert result.plans[0].writes == ("a", "b")


def test_a_tail_of_a_queue_node_and_more_is_a_loop() -> None:
    drawing = (
        Drawing().producer("p").non_blocking("n").queue("a", queue="a").blocking("b").path("p", "n", "a").edge("n", "b")
    )

    assert [plan.loop for plan in drawing.compiled().plans] == ["p", "p~n"]


def test_tails_have_tails_of_their_own() -> None:
    drawing = (
        Drawing()
        .producer("p")
        .non_blocking("n")
        .non_blocking("m")
        .blocking("b")
        .non_blocking("last")
        .queue("q", queue="out")
        .path("p", "n", "m", "b", "last", "q")
    )
    result = drawing.compiled()

    assert [(plan.loop, plan.tail_of, plan.tails) for plan in result.plans] == [
        ("p", None, ("p~n",)),
        ("p~n", "p", ("p~n~m",)),
        ("p~n~m", "p~n", ()),
    ]
    assert nodes_of(plan(result, "p~n~m")) == ["m", "b", "last", "q"]
    assert [queue.name for queue in result.queues] == ["flow~p~n", "flow~p~n~m", "out"]


def test_a_tail_comes_right_after_its_loop() -> None:
    drawing = Drawing()
    for name in ("a", "a-b", "a.b"):
        drawing.producer(name).non_blocking(f"n-{name}").blocking(f"b-{name}").path(name, f"n-{name}", f"b-{name}")

    loops = [plan.loop for plan in drawing.compiled().plans]

    assert loops == ["a", "a~n-a", "a-b", "a-b~n-a-b", "a.b", "a.b~n-a.b"]


def test_a_tail_has_as_many_replicas_and_deliveries_as_its_loop() -> None:
    drawing = (
        Drawing()
        .reader("r", queue="q", replicas=3, max_deliveries=7, placement={"labels": {"gpu": "yes"}})
        .non_blocking("n")
        .blocking("b")
        .path("r", "n", "b")
    )
    tail = drawing.plan("r~n")

    assert (tail.replicas, tail.steps[0].max_deliveries) == (3, 7)
    assert tail.placement == Placement(labels={"gpu": "yes"})


def test_settings_become_fields_of_the_plan_with_defaults_filled_in() -> None:
    drawing = Drawing(
        defaults={"pool": "process", "retry": {"max_attempts": 9}, "restart": {"max_restarts": 2}},
        rollout={"max_parallel": 4, "progress_deadline": "2m"},
    )
    drawing.producer(
        "p",
        restart="always",
        on_lost_contact="30s",
        max_in_flight=16,
        resources={"memory": "512MiB", "open_files": 64},
        placement={"prefer": {"zone": "a"}},
        attempt_timeout=2,
        queues={"push": ["b", "a"], "pop": ["c"]},
        with_={"any": {"thing": [1, None]}},
        label="Ticker",
    )
    drawing.blocking("b", retry={"initial_backoff": "20ms", "max_elapsed": None, "retry_on": ["OSError"]}).edge(
        "p", "b"
    )
    result = drawing.compiled()
    loop = result.plans[0]

    assert (loop.pool, loop.max_in_flight, loop.on_lost_contact_s) == ("process", 16, 30.0)
    assert loop.restart == RestartPolicy(mode="always", max_restarts=2)
    assert loop.resources == Resources(memory=512 * 2**20, open_files=64)
    assert loop.placement == Placement(prefer={"zone": "a"})
    assert (loop.steps[0].label, loop.steps[1].label) == ("Ticker", "b")
    assert loop.steps[0].params == {"any": {"thing": [1, None]}}
    assert (loop.steps[0].push_queues, loop.steps[0].pop_queues) == (("a", "b"), ("c",))
    assert loop.steps[0].retry == RetryPolicy(max_attempts=9)
    assert loop.steps[0].attempt_timeout_s == 2.0
    assert loop.steps[1].retry == RetryPolicy(
        max_attempts=9, initial_backoff_s=0.02, max_elapsed_s=None, retry_on=("OSError",)
    )
    assert (result.max_parallel, result.progress_deadline_s) == (4, 120.0)


def test_what_is_not_written_has_the_documented_default() -> None:
    result = Drawing().producer("p").compiled()
    loop = result.plans[0]

    assert (loop.pool, loop.replicas, loop.interval_s, loop.max_in_flight) == ("thread", 1, 0.0, 4096)
    assert (loop.iteration_timeout_s, loop.on_lost_contact_s, loop.placement) == (None, None, Placement())
    assert loop.steps[0].retry == RetryPolicy()
    assert (result.max_parallel, result.progress_deadline_s) == (1, 60.0)


def test_keep_is_the_word_for_never_stopping_on_lost_contact() -> None:
    assert Drawing().producer("p", on_lost_contact="keep").plan("p").on_lost_contact_s is None


def test_dead_letter_as_a_default_goes_only_where_a_message_feeds_the_loop() -> None:
    drawing = Drawing(defaults={"retry": {"on_exhausted": "dead-letter"}}).producer("p").reader("r", queue="q")

    assert drawing.plan("p").steps[0].retry.on_exhausted is None
    assert drawing.plan("r").steps[0].retry.on_exhausted == "dead-letter"


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ({}, QueueLimits()),
        ({"limits": None}, QueueLimits(None, None)),
        ({"limits": {"messages": 5}}, QueueLimits(messages=5)),
        ({"limits": {"bytes": "1MiB", "when_full": "drop-oldest"}}, QueueLimits(1_000_000, 2**20, "drop-oldest")),
    ],
)
def test_limits_of_a_queue(written: dict[str, Any], limits: QueueLimits) -> None:
    drawing = Drawing().producer("p").queue("q", queue="q", external=True, **written).edge("p", "q")
    (queue,) = drawing.compiled().queues

    assert (queue.limits, queue.external, queue.on_cycle, queue.hidden) == (limits, True, False, False)


def test_queues_on_a_cycle_are_marked() -> None:
    drawing = (
        Drawing()
        .reader("a", queue="ping", external=True)
        .queue("x", queue="pong", limits=None)
        .reader("b")
        .queue("y", queue="ping")
        .queue("z", queue="out")
        .path("a", "x", "b", "y")
        .edge("b", "z")
    )

    assert {queue.name: queue.on_cycle for queue in drawing.compiled().queues} == {
        "out": False,
        "ping": True,
        "pong": True,
    }


def test_queues_that_nodes_call_by_themselves_are_in_the_table() -> None:
    drawing = Drawing().producer("p", queues={"push": ["jobs"]}).reader("r", queue="jobs")
    (queue,) = drawing.compiled().queues

    assert (queue.writers, queue.readers) == (("p",), ("r",))


def test_a_workflow_is_called_by_its_name_or_its_file() -> None:
    assert workflow_name({"name": "mine", "nodes": []}, "stem") == "mine"
    assert workflow_name({"flow": {"nodes": [], "name": "inner"}}, "stem") == "inner"
    assert workflow_name({"name": "outer", "flow": {"nodes": []}}, "stem") == "outer"
    assert workflow_name({"nodes": [], "name": 5}, "stem") == "stem"
    assert workflow_name(None, "stem") == "stem"


def test_version_11_and_12_of_react_flow_are_both_read() -> None:
    twelve = Drawing().node("c", "loop", pool="process").node("p", "producer", parent="c").document
    eleven = Drawing().node("c", "loop", pool="process").node("p", "producer").document
    eleven["nodes"][1].update(
        parentNode="c", positionAbsolute={"x": 1, "y": 2}, width=5, height=6, extent="parent", selected=True
    )
    twelve["nodes"][1]["measured"] = {"width": 5, "height": 6}

    assert compiled(eleven) == compiled(twelve)
