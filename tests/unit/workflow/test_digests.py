from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workflow.drawing import Drawing, compiled, plan, shop
from treadle.workflow import Compiled

PRESENTATION = ("position", "measured", "width", "height", "selected", "dragging", "style", "viewport", "zIndex")


def digests(document: dict[str, Any], **options: Any) -> dict[str, str]:
    result = compiled(document, **options)
    return {"": result.digest, **{plan.loop: plan.digest for plan in result.plans}}


def decorated(document: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The same workflow, drawn differently in every way that means nothing."""
    drawn = copy.deepcopy(document)
    for node in drawn["nodes"]:
        node["position"] = {"x": rng.random() * 100, "y": rng.random()}
        node.update(selected=rng.random() < 0.5, dragging=True, width=rng.randrange(100), style={"color": "red"})
        node["data"]["label"] = str(rng.random())
        node["data"]["colour"] = "blue"
        if rng.random() < 0.5:
            node["positionAbsolute"] = node["position"]
    for edge in drawn["edges"]:
        edge.update(animated=True, type="smoothstep", markerEnd={"type": "arrow"})
    drawn["nodes"].append({"id": "memo", "type": "stickyNote", "position": {"x": 0, "y": 0}, "data": {"text": "hi"}})
    rng.shuffle(drawn["nodes"])
    rng.shuffle(drawn["edges"])
    drawn["viewport"] = {"x": rng.random(), "y": 5, "zoom": 2}
    drawn["description"] = "new"
    return drawn


@given(st.randoms())
def test_presentation_labels_and_the_order_of_arrays_are_not_in_a_digest(rng: random.Random) -> None:
    assert digests(decorated(shop().document, rng)) == digests(shop().document)


@pytest.mark.parametrize("key", ["flow", "workflow"])
def test_a_wrapper_is_not_in_a_digest(key: str) -> None:
    document = Drawing(defaults={"pool": "asyncio"}).producer("p").document
    inner = {key: document, "cache": {"a": 1}}
    outer = {key: {k: v for k, v in document.items() if k != "defaults"}, "defaults": document["defaults"]}

    assert digests(document) == digests(inner) == digests(outer)


def test_stripping_presentation_leaves_the_digest() -> None:
    bare = shop().document
    bare.pop("viewport")
    for node in bare["nodes"]:
        node.pop("position")

    assert digests(bare) == digests(shop().document)


def test_the_workflows_name_is_not_in_a_digest() -> None:
    drawing = Drawing().producer("p").queue("q").reader("r").non_blocking("n").blocking("b")
    document = drawing.path("p", "q", "r").path("p", "n", "b").document

    assert digests(document, name="one") == digests(document, name="two")


def test_a_save_by_javascript_leaves_the_digest() -> None:
    saved = Drawing().producer("p", with_={"a": 1, "b": [2, {"c": -3}]}, interval=1).document
    written = Drawing().producer("p", with_={"b": [2.0, {"c": -3.0}], "a": 1.0}, interval=1.0).document

    assert digests(saved) == digests(written)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"interval": "200ms"}, {"interval": 0.2}),
        ({"interval": "1m"}, {"interval": 60}),
        ({"restart": "always"}, {"restart": {"mode": "always"}}),
        ({"pool": "process", "resources": {"memory": "1MiB"}}, {"pool": "process", "resources": {"memory": 2**20}}),
        ({"retry": {"max_backoff": "1.5s"}}, {"retry": {"max_backoff": 1.5}}),
        ({"with_": {}}, {}),
        ({"queues": {"push": ["a", "b"]}}, {"queues": {"push": ["b", "a"], "pop": []}}),
        ({"interval": None}, {}),
    ],
)
def test_two_ways_of_writing_one_thing_have_one_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digests(Drawing().producer("p", **one).document) == digests(Drawing().producer("p", **other).document)


def test_a_default_that_is_not_written_is_not_in_a_digest() -> None:
    """Otherwise a new version of treadle with another default would restart every loop."""
    assert digests(Drawing().producer("p", pool="thread").document) != digests(Drawing().producer("p").document)


def test_a_setting_means_the_same_on_container_producer_and_as_default() -> None:
    on_producer = Drawing().node("c", "loop", name="p").node("p", "producer", parent="c", pool="process").document
    on_container = Drawing().node("c", "loop", name="p", pool="process").node("p", "producer", parent="c").document
    as_default = Drawing(defaults={"pool": "process"}).producer("p").document

    assert digests(on_producer) == digests(on_container) == digests(as_default)


Edit = Callable[[Drawing], Any]


def _data(drawing: Drawing, node: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item["data"] for item in drawing.nodes if item["id"] == node)
    return found


CHANGES: dict[str, tuple[Edit, set[str]]] = {
    "a parameter": (lambda d: _data(d, "store")["with"].update(limit=4), {"orders"}),
    "an interval": (lambda d: _data(d, "tick").update(interval="2s"), {"tick"}),
    "a pool, which the tail inherits": (lambda d: _data(d, "tick").update(pool="process"), {"tick", "tick~send"}),
    "a retry policy": (lambda d: _data(d, "send")["retry"].update(max_attempts=6), {"tick"}),
    "a node of a tail": (lambda d: _data(d, "after").update(uses="t.stateful"), {"tick~send"}),
    "a node added to a tail": (lambda d: d.blocking("more").edge("after", "more"), {"tick~send"}),
    "a handle": (lambda d: d.edges[0].update(sourceHandle="x"), {"tick"}),
    "the handle into a tail": (lambda d: d.edges[3].update(sourceHandle="error"), {"tick~send"}),
    "a target handle": (lambda d: d.edges[0].update(targetHandle="x"), {"tick"}),
    "the order of siblings": (lambda d: d.edges[2].update(data={"order": -1}), {"tick"}),
    "the name of a queue": (lambda d: _data(d, "orders").update(queue="o2"), {"tick", "orders"}),
    "a type": (
        lambda d: d.nodes[1].update(type="non-blocking"),
        {"tick", "tick~check", "tick~check~send", "tick~send"},
    ),
    "defaults for all": (
        lambda d: d.top.update(defaults={"retry": {"jitter": "none"}}),
        {"tick", "tick~send", "orders"},
    ),
    "the limits of a queue": (lambda d: _data(d, "out").update(limits={"messages": 5}), set()),
    "an external end": (lambda d: _data(d, "out").update(external=True), set()),
    "the rollout": (lambda d: d.top.update(rollout={"max_parallel": 2}), set()),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_touches_the_digest_of_its_loop_only(what: str) -> None:
    edit, touched = CHANGES[what]
    changed = shop()
    edit(changed)
    before, after = digests(shop().document), digests(changed.document)

    assert before[""] != after[""]
    assert {loop for loop in {*before, *after} - {""} if before.get(loop) != after.get(loop)} == touched


def test_the_order_of_siblings_counts_only_where_it_changes_theirs() -> None:
    """Edge 0 is the only one out of its source: an order there decides nothing."""
    changed = shop()
    changed.edges[0]["data"] = {"order": 7}
    changed.edges[0]["id"] = "renamed"

    assert digests(changed.document) == digests(shop().document)


def test_a_digest_names_its_version_and_is_stable_for_ever() -> None:
    """A stored digest that changes restarts every loop in the world: this value may change with the version only."""
    (loop,) = Drawing().producer("p", interval="1s").compiled().plans

    assert loop.digest == "v1:efe4bf839bb3a788e554263e6b89ad32f19d6af60e0e89faba9c821c0816c942"


def test_a_digest_does_not_depend_on_what_is_compiled_from_it() -> None:
    document = shop().document
    before = json.dumps(document)
    first: Compiled = compiled(document)

    assert json.dumps(document) == before
    assert plan(first, "tick").digest == plan(compiled(document), "tick").digest
