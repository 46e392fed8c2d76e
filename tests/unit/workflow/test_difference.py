from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.workflow.drawing import Drawing, shop
from treadle.workflow import Change, diff


def reasons(edit: Callable[[Drawing], Any], loop: str) -> tuple[str, ...]:
    changed = shop()
    edit(changed)
    difference = diff(shop().compiled(), changed.compiled())
    (change,) = [change for change in difference.loops if change.name == loop]
    assert change.status == "changed"
    return change.reasons


def data(drawing: Drawing, node: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item["data"] for item in drawing.nodes if item["id"] == node)
    return found


def test_the_first_revision_creates_every_loop() -> None:
    difference = diff(None, shop().compiled())

    assert difference.named("created") == ("orders", "tick", "tick~send")
    assert not difference.empty


def test_a_deleted_workflow_removes_every_loop() -> None:
    assert diff(shop().compiled(), None).named("removed") == ("orders", "tick", "tick~send")


def test_the_same_drawing_moved_is_unchanged() -> None:
    moved = shop()
    moved.nodes[0]["position"] = {"x": -5, "y": -5}
    moved.nodes[0]["data"]["label"] = "renamed"
    difference = diff(shop().compiled(), moved.compiled())

    assert difference.named("unchanged") == ("orders", "tick", "tick~send")
    assert difference.empty


@pytest.mark.parametrize(
    ("edit", "loop", "expected"),
    [
        (lambda d: data(d, "tick").update(interval=2), "tick", ("interval: 1.0 -> 2.0",)),
        (lambda d: data(d, "tick").update(pool="process"), "tick~send", ("pool: thread -> process",)),
        (lambda d: data(d, "tick").update(restart="never"), "tick", ("restart.mode: on-failure -> never",)),
        (lambda d: data(d, "store")["with"].update(limit=9), "orders", ("node 'store': with.limit changed",)),
        (lambda d: data(d, "store")["with"].pop("limit"), "orders", ("node 'store': with.limit removed",)),
        (lambda d: data(d, "store")["with"].update(ratio=0.5), "orders", ("node 'store': with.ratio added",)),
        (
            lambda d: data(d, "send")["retry"].update(max_attempts=7),
            "tick",
            ("node 'send': retry.max_attempts: 5 -> 7",),
        ),
        (lambda d: d.blocking("new").edge("store", "new"), "orders", ("node 'new' added",)),
        (
            lambda d: (d.nodes.pop(3), d.edges.pop(3)),
            "tick",
            ("node 'send': its tail is gone",),
        ),
        (
            lambda d: d.edges[5].update(sourceHandle="x"),
            "orders",
            ("node 'store': inputs: orders as orders -> orders[x] as orders",),
        ),
        (lambda d: d.edges[2].update(data={"order": -1}), "tick", ("the order of execution changed",)),
        (
            lambda d: data(d, "orders").update(queue="other"),
            "orders",
            ("node 'orders': queues: orders -> other",),
        ),
        (
            lambda d: data(d, "tick").update(max_in_flight=4096),
            "tick",
            ("a value that was a default is written out, or no longer is",),
        ),
    ],
)
def test_a_change_is_explained(edit: Callable[[Drawing], Any], loop: str, expected: tuple[str, ...]) -> None:
    assert reasons(edit, loop) == expected


def test_values_of_parameters_are_never_shown() -> None:
    """An author may have put a password there."""
    assert "hunter2" not in str(reasons(lambda d: data(d, "store")["with"].update(path="hunter2"), "orders"))


def test_a_renamed_loop_is_a_new_one_and_names_what_it_leaves_behind() -> None:
    old = Drawing().producer("p", interval=1)
    new = Drawing().node("box", "loop", name="fast").node("p", "producer", parent="box", interval=1)
    difference = diff(old.compiled(), new.compiled())

    assert difference.loops == (
        Change("fast", "created", ("was called 'p': it starts anew, and the state of 'p' is left behind",)),
        Change("p", "removed"),
    )


def test_limits_and_rollout_change_without_a_loop() -> None:
    changed = shop()
    data(changed, "out")["limits"] = {"messages": 5}
    changed.top["rollout"] = {"max_parallel": 3, "progress_deadline": 5}
    difference = diff(shop().compiled(), changed.compiled())

    assert difference.named("unchanged") == ("orders", "tick", "tick~send")
    assert [change for change in difference.queues if change.status != "unchanged"] == [
        Change("orders", "changed", ("limits.messages: 1000000 -> 5",))
    ]
    assert difference.workflow == ("rollout.max_parallel: 1 -> 3", "rollout.progress_deadline: 60 s -> 5 s")
    assert not difference.empty


def test_many_reasons_are_counted_not_listed() -> None:
    many = Drawing().producer("p").blocking(*(f"b{index:02}" for index in range(50)))
    for index in range(50):
        many.edge("p", f"b{index:02}")
    (change,) = diff(Drawing().producer("p").compiled(), many.compiled()).loops

    assert len(change.reasons) == 21
    assert change.reasons[-1] == "and 30 more"
