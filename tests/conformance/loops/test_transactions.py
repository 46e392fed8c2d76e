"""semantics.md sections 2 and 3: one iteration is one transaction, state and effect ids included."""

from __future__ import annotations

import itertools

from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.plans import loop, node, produce, queue, read


def test_iterations_commit_in_order_and_what_one_pushed_stays_in_order(rig: Rig) -> None:
    plan = loop(
        produce("p", uses="count", limit=500),
        queue("first", "out", after="p"),
        node("many", "spread", after="first", items=2),
        queue("second", "out", after="many"),
    )
    assert rig.run(plan).kind == "completed"
    seen = [(each["n"], each.get("many-item", -1)) for each in rig.payloads("out")]
    assert seen == list(itertools.product(range(500), (-1, 0, 1)))


def test_a_failed_iteration_leaves_nothing_behind_and_the_ones_before_it_are_committed(rig: Rig) -> None:
    plan = loop(
        produce("p", uses="count", limit=10),
        queue("before", "before", after="p"),
        node("fail", "fail", after="before", at=3),
        queue("after", "after", after="fail"),
    )
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.type) == ("failed", "fail", "Permanent")
    assert "Permanent: 3 is not to be processed" in outcome.error.traceback
    assert [each["n"] for each in rig.payloads("before")] == [0, 1, 2]
    assert [each["n"] for each in rig.payloads("after")] == [0, 1, 2]


def test_the_next_life_goes_on_exactly_where_the_last_commit_was(rig: Rig) -> None:
    plan = loop(produce("p", uses="count", limit=3000), queue("out", "out", after="p"))
    for _ in range(3):
        running = rig.start(plan)
        rig.until(lambda: running.stats().committed > 5 or len(rig.payloads("out")) == 3000)  # noqa: B023 - asked now
        running.tell("stop")
        assert running.outcome().kind in {"stopped", "completed"}
    assert rig.run(plan).kind == "completed"
    assert [each["n"] for each in rig.payloads("out")] == list(range(3000))


def test_a_message_is_encoded_when_it_is_pushed(rig: Rig) -> None:
    plan = loop(produce("p", {"n": 1}), node("push", "push", after="p", push_queues=("out",), to="out", times=2))
    assert rig.run(plan).kind == "completed"
    expected = [{"n": 1, "list": ["as pushed"], "nth": nth, "filling": ""} for nth in (0, 1)]
    assert rig.payloads("out") == expected


def test_an_undeclared_queue_is_refused(rig: Rig) -> None:
    for uses, settings in (("push", {"to": "other"}), ("pop", {"source": "other"})):
        plan = loop(produce("p", {"n": 1}), node("it", uses, after="p", push_queues=("out",), **settings), name=uses)
        outcome = rig.run(plan)
        assert outcome.error is not None
        assert (outcome.error.node, outcome.error.code) == ("it", "undeclared-queue")


def test_an_iteration_that_pushes_too_much_fails_and_nothing_of_it_is_seen(rig: Rig) -> None:
    for name, settings in (("messages", {"times": 10_001}), ("bytes", {"times": 9, "size": 1_000_000})):
        push = node("push", "push", after="p", push_queues=("out",), to="out", **settings)
        outcome = rig.run(loop(produce("p", {"n": 1}), push, name=name))
        assert outcome.error is not None
        assert (outcome.error.node, outcome.error.code) == ("push", "iteration-too-large")
    assert rig.payloads("out") == []


def test_a_message_above_the_limit_is_the_nodes_error(rig: Rig) -> None:
    push = node("push", "push", after="p", push_queues=("out",), to="out", size=1024 * 1024)
    outcome = rig.run(loop(produce("p", {"n": 1}), push))
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code) == ("push", "message-too-large")


def test_state_goes_on_with_the_loop_and_a_failed_iteration_does_not_change_it(rig: Rig) -> None:
    plan = loop(
        produce("p", uses="count", limit=6), node("fail", "fail", after="p", at=4), queue("out", "out", after="fail")
    )
    assert rig.run(plan).kind == "failed"
    # Had the producer's state been kept, the next life would begin with 5 and complete.
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert outcome.error.message == "4 is not to be processed"
    assert [each["n"] for each in rig.payloads("out")] == [0, 1, 2, 3]


def test_effect_ids_name_origin_node_and_execution_and_are_the_same_when_repeated(rig: Rig) -> None:
    rig.backend.push("in", [{"n": 1}, {"n": 2}])
    rig.backend.push("in", [{"n": 3}], headers={"origin": "elsewhere/q/9"})
    plan = loop(
        read("r", "in"),
        node("many", "spread", after="r", items=2),
        node("effect", "effect", after="many"),
        queue("out", "out", after="effect"),
    )
    running = rig.start(plan)
    rig.until(lambda: len(rig.payloads("out")) == 6)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    prefix = f"{rig.backend.namespace}/in/"
    found = [(each["message"], each["effect"], each["source"]) for each in rig.payloads("out")]
    assert found == [
        (f"{prefix}{n}", f"{origin}#effect#{nth}", "in")
        for n, origin in ((1, f"{prefix}1"), (2, f"{prefix}2"), (3, "elsewhere/q/9"))
        for nth in (1, 2)
    ]


def test_effect_ids_without_input_are_of_the_life_and_the_iteration(rig: Rig) -> None:
    plan = loop(
        produce("p", uses="count", limit=4),
        node("fail", "fail", after="p", at=2),
        node("effect", "effect", after="fail"),
        queue("out", "out", after="effect"),
    )
    assert rig.run(plan).kind == "failed"
    healed = loop(
        produce("p", uses="count", limit=4),
        node("fail", "fail", after="p"),
        node("effect", "effect", after="fail"),
        queue("out", "out", after="effect"),
    )
    assert rig.run(healed).kind == "completed"
    effects = [each["effect"] for each in rig.payloads("out")]
    life = effects[0].rpartition(".")[0]
    assert life.startswith(f"{rig.backend.namespace}/w/l/0/")
    assert effects == [f"{life}.{iteration}#effect#1" for iteration in range(4)]
