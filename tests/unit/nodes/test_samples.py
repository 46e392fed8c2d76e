"""The sample workflows: tidy drawings that any React Flow editor opens, without a finding."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from treadle.catalog import load
from treadle.workflow import canonical, check, read_document

SAMPLES = sorted((Path(__file__).resolve().parents[3] / "deploy" / "workflows").glob("*.json"))


class Box(NamedTuple):
    """Where a node is, in the coordinates of the whole drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@pytest.fixture(params=SAMPLES, ids=lambda path: path.stem)
def document(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text())


def boxes(document: Any) -> dict[str, Box]:
    found: dict[str, Box] = {}
    for node in document["nodes"]:  # a parent comes before its children: React Flow insists
        left, top = node["position"]["x"], node["position"]["y"]
        if "parentId" in node:
            left, top = left + found[node["parentId"]].left, top + found[node["parentId"]].top
        size = node["measured"]
        found[node["id"]] = Box(left, top, left + size["width"], top + size["height"])
    return found


def test_there_are_samples() -> None:
    assert [path.stem for path in SAMPLES] == ["earthquakes", "host-metrics"]


def test_no_box_lies_over_another(document: Any) -> None:
    places = boxes(document)
    siblings: dict[str | None, list[str]] = {}
    for node in document["nodes"]:
        siblings.setdefault(node.get("parentId"), []).append(node["id"])

    pairs = [pair for group in siblings.values() for pair in itertools.combinations(group, 2)]

    assert [(a, b) for a, b in pairs if places[a].overlaps(places[b])] == []


def test_loops_hold_their_nodes(document: Any) -> None:
    places = boxes(document)
    inside = [(node["parentId"], node["id"]) for node in document["nodes"] if "parentId" in node]

    assert [pair for pair in inside if not places[pair[0]].holds(places[pair[1]])] == []


def test_edges_go_from_left_to_right(document: Any) -> None:
    places = boxes(document)

    backwards = [edge for edge in document["edges"] if places[edge["source"]].right >= places[edge["target"]].left]

    assert backwards == []


def test_every_node_has_what_react_flow_saves(document: Any) -> None:
    for node in document["nodes"]:
        assert {"id", "type", "position", "data", "width", "height", "measured"} <= set(node)
    for edge in document["edges"]:
        assert {"id", "source", "target", "sourceHandle", "targetHandle"} <= set(edge)
    assert set(document["viewport"]) == {"x", "y", "zoom"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_has_no_finding_and_uses_all_pools_a_tail_and_bindings(path: Path) -> None:
    read = read_document(path.read_bytes())
    assert read.document is not None

    checked = check(read.document, name=path.stem, node_types={kind.uses: kind for kind in load().types})

    assert list(checked.findings) == []
    assert checked.compiled is not None
    assert {plan.pool for plan in checked.compiled.plans} == {"thread", "process", "asyncio"}
    assert len([plan for plan in checked.compiled.plans if plan.tail_of]) == 1
    assert len([queue for queue in checked.compiled.queues if not queue.hidden]) == 2


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_in_the_form_that_wfctl_fmt_writes(path: Path) -> None:
    assert canonical(json.loads(path.read_text())) == path.read_text()
