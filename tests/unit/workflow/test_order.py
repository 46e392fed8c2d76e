"""The order of a plan, over random graphs and against a naive scheduler."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workflow.drawing import Drawing, compiled, nodes_of
from treadle.workflow import Plan


def test_branches_are_followed_to_their_end_one_after_the_other() -> None:
    drawing = (
        Drawing()
        .producer("p")
        .blocking("a", "a1", "a2", "b", "b1")
        .path("p", "b", "b1")
        .path("p", "a", "a1", "a2")
    )  # fmt: skip

    assert nodes_of(drawing.plan("p")) == ["p", "a", "a1", "a2", "b", "b1"]


def test_order_comes_before_the_names_of_targets() -> None:
    drawing = Drawing().producer("p").blocking("a", "b", "c")
    drawing.edge("p", "a", order=2).edge("p", "b").edge("p", "c", order=-1.5)

    assert nodes_of(drawing.plan("p")) == ["p", "c", "b", "a"]


def test_a_join_waits_for_its_last_predecessor_and_runs_right_after_it() -> None:
    drawing = (
        Drawing()
        .producer("p")
        .blocking("a", "b", "c", "join", "z")
        .path("p", "a", "join", "z")
        .path("p", "b", "join")
        .path("p", "c")
    )

    assert nodes_of(drawing.plan("p")) == ["p", "a", "b", "join", "z", "c"]


def test_two_edges_between_two_nodes_are_two_inputs_in_edge_order() -> None:
    drawing = Drawing().producer("p").blocking("a", join="each")
    drawing.edge("p", "a", sourceHandle="second", id="y").edge("p", "a", sourceHandle="first", id="x")

    assert [given.handle for given in drawing.plan("p").steps[1].inputs] == ["first", "second"]


@st.composite
def drawings(draw: st.DrawFn) -> dict[str, Any]:
    """A DAG of one loop: each node has predecessors among those before it."""
    kinds = draw(st.lists(st.sampled_from(["blocking", "blocking", "queue"]), min_size=1, max_size=12))
    names = draw(st.permutations([f"n{index}" for index in range(len(kinds))]))
    drawing = Drawing().producer("p")
    above = ["p"]
    for name, kind in zip(names, kinds, strict=True):
        drawing.node(name, kind, **dict[str, Any]({"queue": "q", "external": True} if kind == "queue" else {}))
        for source in draw(st.lists(st.sampled_from(above), min_size=1, max_size=3, unique=True)):
            drawing.edge(source, name, order=draw(st.sampled_from([None, 0, 1, -1])))
        above.append(name)
    return drawing.document


def _ranked(document: dict[str, Any], source: str) -> list[str]:
    edges = [edge for edge in document["edges"] if edge["source"] == source]
    edges.sort(key=lambda edge: (edge.get("data", {}).get("order", 0), edge["target"], edge["id"]))
    return [edge["target"] for edge in edges]


def _naive(document: dict[str, Any]) -> list[str]:
    """Recursive and quadratic: run a node, then each child that waits for nobody any more."""
    done: list[str] = []
    sources = {
        node["id"]: {e["source"] for e in document["edges"] if e["target"] == node["id"]} for node in document["nodes"]
    }

    def run(node: str) -> None:
        done.append(node)
        # A child can only become ready by its last predecessor, which is the node that has just run.
        for child in [child for child in _ranked(document, node) if sources[child] <= set(done)]:
            run(child)

    run("p")
    return done


@given(drawings())
def test_a_plan_is_depth_first_by_sibling_order_and_respects_every_edge(document: dict[str, Any]) -> None:
    (plan,) = compiled(document).plans
    order = nodes_of(plan)

    assert order == _naive(document)
    position = {node: index for index, node in enumerate(order)}
    assert all(position[edge["source"]] < position[edge["target"]] for edge in document["edges"])
    assert _drawn(plan) == sorted((edge["source"], edge["target"]) for edge in document["edges"])
    assert all(list(step.inputs) == sorted(step.inputs, key=lambda given: given.source) for step in plan.steps)


def _drawn(plan: Plan) -> list[tuple[str, str]]:
    return sorted((plan.steps[given.source].node, step.node) for step in plan.steps for given in step.inputs)


@given(drawings(), st.randoms())
def test_the_place_in_an_array_means_nothing(document: dict[str, Any], rng: random.Random) -> None:
    shuffled = {**document, "nodes": document["nodes"][:], "edges": document["edges"][:]}
    rng.shuffle(shuffled["nodes"])
    rng.shuffle(shuffled["edges"])

    assert compiled(shuffled) == compiled(document)


@given(st.data())
def test_every_node_belongs_to_exactly_one_loop(data: st.DataObject) -> None:
    """Random trees of awaited and non-blocking nodes: the loops partition them, along the non-blocking ones."""
    drawing, above = Drawing().producer("p"), ["p"]
    parents: dict[str, str] = {}
    kinds = {"p": "producer"}
    for index in range(data.draw(st.integers(1, 14))):
        name, kind = f"n{index}", data.draw(st.sampled_from(["blocking", "non-blocking"]))
        parents[name], kinds[name] = data.draw(st.sampled_from(above)), kind
        drawing.node(name, kind).edge(parents[name], name)
        above.append(name)

    plans = drawing.compiled().plans

    owner = {step.node: plan.loop for plan in plans for step in (plan.steps[1:] if plan.tail_of else plan.steps)}
    assert owner.keys() == kinds.keys()
    for name, parent in parents.items():
        expected = f"{owner[parent]}~{parent}" if kinds[parent] == "non-blocking" else owner[parent]
        assert owner[name] == expected
    by_name = {plan.loop: plan for plan in plans}
    assert all(by_name[tail].tail_of == plan.loop for plan in plans for tail in plan.tails)
