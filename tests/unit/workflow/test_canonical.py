from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workflow.drawing import Drawing, compiled, shop
from treadle.workflow import canonical

MARKS = {"selected", "dragging", "resizing"}


def resaved(document: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """As an editor writes it: other orders of arrays and keys, and the marks of the session."""
    saved: dict[str, Any] = copy.deepcopy(document)
    for node in saved["nodes"]:
        node.update(selected=rng.random() < 0.5, dragging=False)
    rng.shuffle(saved["nodes"])
    rng.shuffle(saved["edges"])
    saved["nodes"] = [dict(rng.sample(list(node.items()), len(node))) for node in saved["nodes"]]
    return dict(rng.sample(list(saved.items()), len(saved)))


@given(st.randoms())
def test_the_form_is_stable_under_a_save(rng: random.Random) -> None:
    assert canonical(resaved(shop().document, rng)) == canonical(shop().document)


def test_formatting_again_changes_nothing() -> None:
    text = canonical(shop().document)

    assert canonical(json.loads(text)) == text
    assert text.endswith("}\n")


def test_formatting_keeps_the_meaning_and_every_key() -> None:
    document = shop().document
    document["custom"] = {"b": [1, {"a": None}], "a": "é"}
    document["nodes"][0]["mystery"] = {"deep": [True]}
    document["nodes"][0]["data"]["own"] = [1]
    document["edges"][0]["label"] = "x"
    formatted = json.loads(canonical(document))

    assert compiled(formatted) == compiled(document)
    assert formatted.keys() == document.keys()
    by_id = {node["id"]: node for node in formatted["nodes"]}
    assert all(by_id[node["id"]] == node for node in document["nodes"])
    edges = {edge["id"]: edge for edge in formatted["edges"]}
    assert all(edges[edge["id"]] == edge for edge in document["edges"])


def test_only_the_marks_of_the_session_are_dropped() -> None:
    document = shop().document
    document["nodes"][0].update(selected=True, dragging=False, resizing=True, positionAbsolute={"x": 1, "y": 2})
    node = next(node for node in json.loads(canonical(document))["nodes"] if node["id"] == "tick")

    assert document["nodes"][0].keys() - node.keys() == MARKS


def test_moving_a_node_touches_one_line() -> None:
    moved = shop().document
    moved["nodes"][2]["position"] = {"x": 777, "y": 8.5}
    before, after = canonical(shop().document).splitlines(), canonical(moved).splitlines()

    assert len(before) == len(after)
    assert [line.strip() for line in after if line not in before] == ['"position": {"x": 777, "y": 8.5}']


def test_parents_come_before_their_children_as_react_flow_demands() -> None:
    document = (
        Drawing()
        .node("a", "blocking", parent="m")
        .node("m", "group", parent="z")
        .node("b", "producer", parent="z")
        .node("z", "loop")
        .edge("b", "a")
        .document
    )
    order = [node["id"] for node in json.loads(canonical(document))["nodes"]]

    assert order.index("z") < order.index("m") < order.index("a")
    assert order.index("z") < order.index("b")


def test_edges_are_in_the_order_of_their_siblings() -> None:
    drawing = Drawing().producer("p").blocking("a", "b").edge("p", "a", order=5).edge("p", "b", order=-2)

    assert [edge["target"] for edge in json.loads(canonical(drawing.document))["edges"]] == ["b", "a"]


def test_a_wrapped_document_stays_wrapped() -> None:
    document = {"cache": {"b": 1, "a": 2}, "flow": Drawing().producer("p").document}
    text = canonical(document)

    assert json.loads(text) == document
    assert canonical(json.loads(text)) == text


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"nodes": 5},
        {"nodes": [5, None, "x", {"id": 3}, {"data": 1}], "edges": [[], {"data": {"order": "x"}}]},
        {"nodes": [{"id": "a", "parentId": "b"}, {"id": "b", "parentId": "a"}, {"id": "c", "parentId": "a"}]},
        {"flow": {"nodes": []}, "workflow": {"nodes": []}},
        [1, {"b": 1, "a": 2}],
    ],
)
def test_documents_with_faults_are_formatted_too(document: Any) -> None:
    text = canonical(document)

    assert json.loads(text) == document or sorted(map(str, json.loads(text)["nodes"])) == sorted(
        map(str, document["nodes"])
    )
    assert canonical(json.loads(text)) == text


def test_the_whole_form() -> None:
    """What it looks like: compare with canonical.json beside this test."""
    document = (
        Drawing(name="mini", zeta=1, defaults={"pool": "asyncio"})
        .producer("p", interval="1s", with_={"b": [1], "a": {}})
        .blocking("b")
        .edge("p", "b", sourceHandle="ok", animated=True)
        .document
    )

    assert canonical(document) == (Path(__file__).parent / "canonical.json").read_text()
