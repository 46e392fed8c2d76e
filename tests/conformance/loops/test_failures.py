"""semantics.md section 4: attempts, dead letters, error edges and `on_exhausted` are the same everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.plans import THRICE, loop, node, produce, queue, read
from treadle.workflow.plan import Plan


def flaky(**settings: Any) -> Any:
    """Return a node that fails where it is told to."""
    settings = {"retry": THRICE, "push_queues": ("side",), **settings}
    return node("flaky", "flaky", after="in", **settings)


def fed(*below: Any, **settings: Any) -> Plan:
    """Return a loop that reads from `in`, and pushes to `out` what the flaky node returns."""
    return loop(read("in", "in"), flaky(**settings), *below, queue("out", "out", after="flaky"))


def run(rig: Rig, plan: Plan, count: int = 3, *, fails: bool = False) -> Any:
    """Run a loop on some messages, until it has gone through them, or ends by itself because it `fails`."""
    rig.backend.push("in", [{"n": n} for n in range(count)])
    running = rig.start(plan)
    if not fails:
        rig.until(lambda: running.stats().committed >= count)
        running.tell("drain")
    return running.outcome()


def test_a_failed_attempt_is_undone_and_the_iteration_waits_for_the_next(rig: Rig) -> None:
    rig.backend.push("extra", [{"e": e} for e in range(3)])
    assert run(rig, fed(at=1, times=2, source="extra", pop_queues=("extra",))).kind == "drained"
    rows = [(each["n"], each["extra"], each["attempts"]) for each in rig.payloads("out")]
    assert rows == [(0, 0, 1), (1, 1, 2), (2, 2, 3)]
    assert [each["header"] for each in rig.payloads("out")] == [1, 3, 1]
    assert rig.payloads("side") == [{"n": 0, "attempt": 1}, {"n": 1, "attempt": 3}, {"n": 2, "attempt": 1}]
    assert rig.backend.dead("in") == []


@pytest.mark.parametrize(
    ("how", "error", "kind"),
    [
        ("error", "exception", "ConnectionError"),
        ("exit", "exception", "SystemExit"),
        ("shy", "exception", "Shy"),
        ("odd", "bad-output", "BadOutput"),
        ("route", "bad-output", "BadOutput"),
        ("undeclared", "undeclared-queue", "UndeclaredQueue"),
    ],
)
def test_what_is_exhausted_moves_all_that_it_popped_to_the_dead_letters(
    rig: Rig, how: str, error: str, kind: str
) -> None:
    rig.backend.push("extra", [{"e": e} for e in range(3)])
    plan = fed(at=1, how=how, source="extra", pop_queues=("extra",))
    rig.backend.push("in", [{"n": n} for n in range(3)])
    running = rig.start(plan)
    rig.until(lambda: len(rig.payloads("out")) == 2)
    running.tell("drain")
    assert running.outcome().kind == "drained"
    assert [(each["n"], each["extra"], each["attempts"]) for each in rig.payloads("out")] == [(0, 0, 1), (2, 2, 2)]
    assert [each["n"] for each in rig.payloads("side")] == [0, 2]
    [(payload, reason)], [(other, same)] = rig.backend.dead("in"), rig.backend.dead("extra")
    assert (payload, other) == ({"n": 1}, {"e": 1})
    assert (reason["error"], reason["type"], reason["node"], reason["attempts"]) == (error, kind, "flaky", 3)
    assert reason["iteration"] == same["iteration"]


def test_an_error_edge_takes_the_input_and_the_error_on(rig: Rig) -> None:
    plan = fed(queue("caught", "caught", after="flaky:error"), at=1, catches=True)
    assert run(rig, plan).kind == "drained"
    assert [each["n"] for each in rig.payloads("out")] == [0, 2]
    [caught] = rig.payloads("caught")
    assert caught["input"] == {"n": 1}
    facts = {"code": "exception", "type": "ConnectionError", "message": "1 is not liked"}
    assert caught["error"] == {**facts, "node": "flaky", "attempts": 3}
    assert rig.payloads("side") == [{"n": 0, "attempt": 1}, {"n": 2, "attempt": 1}]


@pytest.mark.parametrize("on_exhausted", ["fail-loop", "skip"])
def test_on_exhausted_is_what_the_author_wrote(rig: Rig, on_exhausted: Any) -> None:
    outcome = run(rig, fed(at=1, retry=replace(THRICE, on_exhausted=on_exhausted)), fails=on_exhausted == "fail-loop")
    assert rig.backend.dead("in") == []
    if on_exhausted == "skip":
        assert [each["n"] for each in rig.payloads("out")] == [0, 2]
        return
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.type) == ("failed", "flaky", "ConnectionError")
    assert [each["n"] for each in rig.payloads("out")] == [0]


def test_a_producers_item_that_is_exhausted_fails_its_loop_and_is_repeated_by_the_next_life(rig: Rig) -> None:
    plan = loop(produce("in", uses="count", limit=3), flaky(at=1, how="exit"), queue("out", "out", after="flaky"))
    outcome = rig.run(plan)
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.type) == ("failed", "flaky", "SystemExit")
    healed = loop(produce("in", uses="count", limit=3), flaky(at=1, times=1), queue("out", "out", after="flaky"))
    assert rig.run(healed).kind == "completed"
    assert [each["n"] for each in rig.payloads("out")] == [0, 1, 2]
