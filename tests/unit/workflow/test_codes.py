"""Every code of the table, by the smallest document that has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.workflow.drawing import Drawing, checked
from treadle.workflow import CODES, read_document
from treadle.workflow.graph import MAX_EDGES, MAX_NODES


def start() -> Drawing:
    return Drawing().producer("p")


def below(node_id: str, **data: Any) -> Drawing:
    return start().blocking(node_id, **data).edge("p", node_id)


def reader(**data: Any) -> Drawing:
    return start().reader("r", **data)


def raw(nodes: Any, edges: Any = ()) -> dict[str, Any]:
    return {"nodes": nodes, "edges": list(edges) if isinstance(edges, tuple) else edges}


def two_containers() -> Drawing:
    return (
        Drawing()
        .node("one", "loop")
        .node("two", "loop", name="one")
        .node("p", "producer", parent="one")
        .node("q", "producer", parent="two")
    )


def ping_pong(**limits: Any) -> Drawing:
    return (
        Drawing()
        .reader("a", queue="ping")
        .queue("to-pong", queue="pong")
        .reader("b", queue="pong")
        .queue("to-ping", queue="ping", **limits)
        .path("a", "to-pong", "b", "to-ping", "a")
    )


def start_with_tails(depth: int) -> Drawing:
    drawing = start().path("p", *(f"n{index}" for index in range(depth)))
    for index in range(depth):
        drawing.non_blocking(f"n{index}")
    return drawing


# code -> (document, element, pointer) in which it must be found
CASES: dict[str, Sequence[tuple[Any, str, str]]] = {
    "not-a-workflow": [
        ({}, "", ""),
        ({"nodes": {}}, "", "/nodes"),
        (raw([], {}), "", "/edges"),
        ({"flow": {"edges": []}}, "", ""),
        ([], "", ""),
    ],
    "too-many-nodes": [(raw([{}] * (MAX_NODES + 1)), "", "/nodes")],
    "too-many-edges": [(raw([], [{}] * (MAX_EDGES + 1)), "", "/edges")],
    "bad-node": [
        (raw([5]), "", "/nodes/0"),
        (raw([{"type": "producer"}]), "", "/nodes/0"),
        (raw([{"id": 7, "type": "producer"}]), "", "/nodes/0"),
        (raw([{"id": "p", "type": "producer", "data": []}]), "p", "/nodes/0/data"),
    ],
    "bad-edge": [
        (raw([], ["x"]), "", "/edges/0"),
        (raw([], [{"id": "e", "target": "p"}]), "e", "/edges/0/source"),
        (raw([], [{"id": "e", "source": "p", "target": 1}]), "e", "/edges/0/target"),
        (raw([], [{"id": 1, "source": "p", "target": "p"}]), "", "/edges/0/id"),
        (raw([], [{"source": "p", "target": "p", "sourceHandle": 1}]), "", "/edges/0/sourceHandle"),
        (raw([], [{"id": "e" * 1025, "source": "p", "target": "p"}]), "e" * 77 + "...", "/edges/0/id"),
    ],
    "bad-name": [
        (Drawing().producer(name), "", "/nodes/0/id")
        for name in ("", "../x", "a b", "a/b", "{}", "*", "-x", "a\n", "é", "a~b", "x" * 129, "x" * 1_048_576)
    ]
    + [
        (Drawing(name="a b").producer("p"), "", ""),
        (Drawing(name=5).producer("p"), "", "/name"),
        (start().queue("q", queue="a/b").edge("p", "q"), "q", "/nodes/1/data/queue"),
        (Drawing().node("c", "loop", name="*").node("p", "producer", parent="c"), "c", "/nodes/0/data/name"),
    ],
    "duplicate-id": [
        (start().producer("p"), "p", "/nodes/1/id"),
        (below("b").edge("p", "b", id="e0"), "e0", "/edges/1/id"),
    ],
    "unknown-type": [
        (raw([{"id": "a", "type": "producr", "data": {}}]), "a", "/nodes/0/type"),
        (raw([{"id": "a"}]), "a", "/nodes/0/type"),
        (raw([{"id": "a", "type": ["producer"]}]), "a", "/nodes/0/type"),
    ],
    "dangling-edge": [
        (start().edge("p", "gone"), "e0", "/edges/0/target"),
        (start().edge("gone", "p"), "e0", "/edges/0/source"),
    ],
    "decoration": [(start().node("n", kind), "n", "/nodes/1") for kind in ("group", "note", "stickyNote", "comment")],
    "decoration-edge": [(start().node("n", "note").edge("n", "p"), "e0", "/edges/0")],
    "bad-setting": [
        (Drawing().producer("p", **data), "p", f"/nodes/0/data/{'/'.join(at)}")
        for data, at in (
            ({"replicas": True}, ["replicas"]),
            ({"replicas": -1}, ["replicas"]),
            ({"replicas": 2**63}, ["replicas"]),
            ({"replicas": "2"}, ["replicas"]),
            ({"interval": -1}, ["interval"]),
            ({"interval": True}, ["interval"]),
            ({"interval": "5 parsecs"}, ["interval"]),
            ({"interval": 2**63}, ["interval"]),
            ({"interval": "9" * 5_000 + "s"}, ["interval"]),
            ({"iteration_timeout": 0}, ["iteration_timeout"]),
            ({"pool": "fork"}, ["pool"]),
            ({"pool": ["thread"]}, ["pool"]),
            ({"with_": []}, ["with"]),
            ({"uses": 5}, ["uses"]),
            ({"retry": 3}, ["retry"]),
            ({"retry": {"max_attempts": 0}}, ["retry", "max_attempts"]),
            ({"retry": {"multiplier": "x"}}, ["retry", "multiplier"]),
            ({"retry": {"retry_on": "TimeoutError"}}, ["retry", "retry_on"]),
            ({"retry": {"retry_on": ["A", "A"]}}, ["retry", "retry_on"]),
            ({"retry": {"initial_backoff": "5s", "max_backoff": "1s"}}, ["retry", "initial_backoff"]),
            ({"restart": "sometimes"}, ["restart"]),
            ({"restart": {"window": 0}}, ["restart", "window"]),
            ({"placement": {"labels": {"zone": 3}}}, ["placement", "labels", "zone"]),
            ({"on_lost_contact": "drop"}, ["on_lost_contact"]),
            ({"pool": "process", "resources": {"memory": "much"}}, ["resources", "memory"]),
            ({"max_in_flight": 0}, ["max_in_flight"]),
            ({"queues": ["a"]}, ["queues"]),
        )
    ]
    + [
        (Drawing(defaults={"pool": "x"}).producer("p"), "", "/defaults/pool"),
        (Drawing(defaults=[]).producer("p"), "", "/defaults"),
        (Drawing(rollout={"max_parallel": 0}).producer("p"), "", "/rollout/max_parallel"),
        (below("b").edge("p", "b", id="x", order="first"), "x", "/edges/1/data/order"),
        (start().queue("q", queue="q", limits={"messages": 0}).edge("p", "q"), "q", "/nodes/1/data/limits/messages"),
        (start().queue("q", queue="q", external=1).edge("p", "q"), "q", "/nodes/1/data/external"),
    ],
    "missing-setting": [
        (raw([{"id": "p", "type": "producer"}]), "p", "/nodes/0/data/uses"),
        (reader(queue="q").edge("p", "r"), "r", "/nodes/1/data/timeout"),
    ],
    "unknown-setting": [
        (below("b", retry={"max_atempts": 3}), "b", "/nodes/1/data/retry/max_atempts"),
        (Drawing(defaults={"replicas": 3}).producer("p"), "", "/defaults/replicas"),
        (Drawing(rollout={"parallel": 3}).producer("p"), "", "/rollout/parallel"),
    ],
    "near-miss": [
        (Drawing().producer("p", replica=1), "p", "/nodes/0/data/replica"),
        (Drawing().producer("p", maxInFlight="many"), "p", "/nodes/0/data/maxInFlight"),
    ],
    "misplaced-setting": [
        (below("b", replicas=2), "b", "/nodes/1/data/replicas"),
        (below("b", timeout="5s"), "b", "/nodes/1/data/timeout"),
        (below("b", join="any"), "b", "/nodes/1/data/join"),
        (reader(queue="q", external=True, on_empty="skip"), "r", "/nodes/1/data/on_empty"),
    ],
    "conflicting-setting": [
        (
            Drawing().node("c", "loop", pool="thread").node("p", "producer", parent="c", pool="asyncio"),
            "p",
            "/nodes/1/data/pool",
        ),
        (reader(queue="a", queues=["b"]), "r", "/nodes/1/data/queues"),
    ],
    "bad-retry": [
        (below("b", retry={"on_exhausted": "dead-letter"}), "b", "/nodes/1/data/retry/on_exhausted"),
        (Drawing().producer("p", retry={"on_exhausted": "dead-letter"}), "p", "/nodes/0/data/retry/on_exhausted"),
    ],
    "resources-need-process": [
        (Drawing().producer("p", resources={"threads": 4}), "p", "/nodes/0/data/resources"),
        (Drawing(defaults={"pool": "asyncio"}).producer("p", resources={"threads": 4}), "p", "/nodes/0/data/resources"),
    ],
    "bad-replicas": [
        (Drawing().producer("p", replicas=2), "p", "/nodes/0/data/replicas"),
        (
            Drawing().reader("r", queue="q", replicas=2).blocking("b", uses="t.stateful").edge("r", "b"),
            "b",
            "/nodes/0/data/replicas",
        ),
        (
            Drawing()
            .reader("r", queue="q", replicas=2)
            .non_blocking("n")
            .blocking("b", uses="t.stateful")
            .path("r", "n", "b"),
            "b",
            "/nodes/0/data/replicas",
        ),
    ],
    "bad-node-type": [
        (Drawing().producer("p", uses=uses), "p", "/nodes/0/data/uses")
        for uses in ("os:system", "builtins:eval", "", "A.b", "a.b.c.d.e", "../x", "a b", "__import__('os')", "a" * 999)
    ],
    "unknown-node-type": [(Drawing().producer("p", uses="t.sourec"), "p", "/nodes/0/data/uses")],
    "wrong-role": [
        (Drawing().producer("p", uses="t.node"), "p", "/nodes/0/data/uses"),
        (below("b", uses="t.source"), "b", "/nodes/1/data/uses"),
    ],
    "bad-params": [
        (below("b", uses="t.strict", with_={"path": 5}), "b", "/nodes/1/data/with/path"),
        (below("b", uses="t.strict"), "b", "/nodes/1/data/with/path"),
        (below("b", uses="t.flat", with_={"m": 5}), "b", "/nodes/1/data/with/m"),
        (below("b", uses="t.flat", with_={"n": True}), "b", "/nodes/1/data/with/n"),
    ],
    "bad-schema": [
        (below("b", uses="t.broken", with_={"a": 1}), "b", "/nodes/1/data/uses"),
        (below("b", uses="t.remote", with_={"a": 1}), "b", "/nodes/1/data/uses"),
    ],
    "bad-secret": [
        (below("b", with_={"key": {"$secret": 5}}), "b", "/nodes/1/data/with/key"),
        (below("b", with_={"key": [{"$secret": ""}]}), "b", "/nodes/1/data/with/key/0"),
        (below("b", with_={"key": {"$secret": "a", "default": "b"}}), "b", "/nodes/1/data/with/key"),
    ],
    "foreign-secret": [
        (below("b", with_={"key": {"$secret": "other/name"}}), "b", "/nodes/1/data/with/key"),
        (below("b", with_={"a": {"b/c": {"$secret": "x", "namespace": "n"}}}), "b", "/nodes/1/data/with/a/b~1c"),
    ],
    "empty-workflow": [(Drawing(), "", ""), (Drawing().node("n", "note"), "", "")],
    "self-edge": [(below("b").edge("b", "b"), "b", "/edges/1")],
    "cycle": [
        (below("b").blocking("c").path("b", "c", "b"), "b", "/nodes/1"),
        (Drawing().blocking("b", "c").path("c", "b", "c"), "b", "/nodes/0"),
    ],
    "producer-input": [(below("b").edge("b", "p"), "p", "/edges/1")],
    "unreachable-node": [
        (start().blocking("b"), "b", "/nodes/1"),
        (start().queue("q", queue="q"), "q", "/nodes/1"),
        (below("b").blocking("c", "d").path("c", "d"), "d", "/nodes/3"),
    ],
    "shared-node": [(below("b").producer("q").edge("q", "b"), "b", "/nodes/1")],
    "mixed-join": [
        (start().non_blocking("n").blocking("b").path("p", "n", "b").edge("p", "b"), "b", "/nodes/2"),
        (
            start().non_blocking("n").non_blocking("m").blocking("b").path("p", "n", "b").path("p", "m", "b"),
            "b",
            "/nodes/3",
        ),
    ],
    "deep-tail": [
        (
            start_with_tails(20),
            "n16",
            "/nodes/17",
        )
    ],
    "join-key-clash": [
        (
            below("a")
            .blocking("b", "c")
            .edge("p", "b")
            .edge("a", "c", targetHandle="in")
            .edge("b", "c", targetHandle="in"),
            "e3",
            "/edges/3",
        )
    ],
    "dangling-parent": [(Drawing().node("p", "producer", parent="gone"), "p", "/nodes/0/parentId")],
    "parent-cycle": [
        (
            raw(
                [
                    {"id": "p", "type": "producer", "data": {"uses": "t.source"}, "parentId": "g"},
                    {"id": "g", "type": "group", "parentNode": "h"},
                    {"id": "h", "type": "group", "parentId": "g"},
                ]
            ),
            "p",
            "/nodes/0/parentId",
        )
    ],
    "nested-loop": [(start().node("a", "loop").node("b", "loop", parent="a"), "b", "/nodes/2")],
    "container-edge": [(start().node("c", "loop").edge("p", "c"), "e0", "/edges/0/target")],
    "container-producer": [
        (start().node("c", "loop"), "c", "/nodes/1"),
        (
            Drawing().node("c", "loop").node("p", "producer", parent="c").node("q", "producer", parent="c"),
            "c",
            "/nodes/0",
        ),
    ],
    "container-member": [
        (
            two_containers().node("b", "blocking", parent="two").edge("p", "b"),
            "b",
            "/nodes/4",
        )
    ],
    "outside-container": [
        (Drawing().node("c", "loop").node("p", "producer", parent="c").blocking("b").edge("p", "b"), "b", "/nodes/2")
    ],
    "duplicate-loop": [(two_containers(), "q", "/nodes/3")],
    "missing-queue": [
        (start().queue("q").edge("p", "q"), "q", "/nodes/1"),
        (start().reader("r"), "r", "/nodes/1"),
    ],
    "binding-conflict": [
        (start().queue("q", queue="a").reader("r", queue="b").path("p", "q", "r"), "e1", "/edges/1"),
        (
            start().queue("q").reader("r", queue="a").reader("s", queue="b").path("p", "q", "r").edge("q", "s"),
            "q",
            "/nodes/1",
        ),
        (
            start()
            .queue("a", queue="a")
            .queue("b", queue="b")
            .reader("r", timeout=1)
            .path("p", "a", "r")
            .path("p", "b", "r")
            .edge("p", "r"),
            "r",
            "/nodes/3",
        ),
    ],
    "differing-limits": [
        (
            start()
            .queue("a", queue="q", limits={"messages": 5})
            .queue("b", queue="q", limits=None)
            .path("p", "a")
            .path("p", "b"),
            "b",
            "/nodes/2/data/limits",
        )
    ],
    "popped-twice": [
        (below("b", queues={"pop": ["q"]}).reader("r", queue="q", timeout=1).edge("b", "r"), "r", "/nodes/2")
    ],
    "competing-readers": [
        (start().queue("q", queue="q").edge("p", "q").reader("r", queue="q").reader("s", queue="q"), "s", "/nodes/3")
    ],
    "bounded-cycle": [
        (ping_pong(), "to-ping", "/nodes/3"),
        (Drawing().reader("r", queue="q").queue("again", queue="q").path("r", "again"), "again", "/nodes/1"),
    ],
    "unwritten-queue": [(reader(queue="q"), "r", "/nodes/1")],
    "unread-queue": [(start().queue("w", queue="q").edge("p", "w"), "w", "/nodes/1")],
    "more-findings": [(raw([{}] * 1_500), "", "")],
}

# Only in the reading of bytes, or with options: each has its own tests.
ELSEWHERE = {
    "absent-node-type",
    "bad-encoding",
    "bad-json",
    "bad-number",
    "document-too-large",
    "duplicate-key",
    "empty-document",
    "lone-surrogate",
    "number-out-of-range",
    "too-deep",
    "too-many-values",
}


@pytest.mark.parametrize(
    ("code", "index"), [(code, index) for code, cases in CASES.items() for index in range(len(cases))]
)
def test_a_document_with_one_fault_has_the_finding_that_names_it(code: str, index: int) -> None:
    drawing, element, pointer = CASES[code][index]
    document = drawing.document if isinstance(drawing, Drawing) else drawing
    name = document.get("name", "flow") if isinstance(document, dict) else "flow"

    result = checked(document, name=name if isinstance(name, str) else "flow")

    found = [finding for finding in result.findings if finding.code == code]
    assert found, result.findings
    places = [(finding.element if element else "", finding.pointer if pointer else "") for finding in found]
    assert (element, pointer) in places
    assert all(len(finding.message) < 600 and finding.message.isprintable() and finding.fix for finding in found)
    if any(finding.severity == "error" for finding in result.findings):
        assert result.compiled is None
        assert result.errors
    else:
        assert result.compiled is not None


def test_every_code_of_the_table_has_a_case() -> None:
    assert CASES.keys() | ELSEWHERE == CODES.keys()
    assert not CASES.keys() & ELSEWHERE


def test_all_findings_are_reported_together_in_the_order_of_the_document() -> None:
    drawing = (
        Drawing()
        .producer("p", uses="os:system", interval=-1)
        .blocking("lost")
        .blocking("b", uses="t.strict", with_={})
        .path("p", "b", "gone")
        .edge("b", "b")
    )

    assert [(found.code, found.pointer) for found in drawing.checked().findings] == [
        ("dangling-edge", "/edges/1/target"),
        ("self-edge", "/edges/2"),
        ("bad-setting", "/nodes/0/data/interval"),
        ("bad-node-type", "/nodes/0/data/uses"),
        ("unreachable-node", "/nodes/1"),
        ("bad-params", "/nodes/2/data/with/path"),
    ]


def test_a_document_without_faults_has_no_findings() -> None:
    assert below("b").codes() == []


def test_findings_in_a_wrapped_document_point_into_the_wrapper() -> None:
    result = checked({"flow": below("b").edge("b", "b").document, "cache": {}})

    assert [finding.pointer for finding in result.findings] == ["/flow/edges/1"]


def test_a_cycle_prints_its_path_and_shortens_a_long_one() -> None:
    names = [f"n{index:04}" for index in range(1_000)]
    drawing = start().blocking(*names).path("p", *names, names[0])

    (finding,) = drawing.checked().findings

    assert "n0000 -> n0001 -> n0002 -> n0003 -> ... " in finding.message
    assert finding.message.endswith("-> n0999 -> n0000")


def test_below_a_node_of_unknown_type_nothing_is_called_unreachable() -> None:
    drawing = start().node("x", "producr").blocking("b", "c").path("x", "b", "c")

    assert drawing.codes() == ["unknown-type"]


def test_the_nearest_type_is_suggested() -> None:
    (finding,) = start().node("x", "non-blokking").checked().findings

    assert "did you mean 'non-blocking'?" in finding.message


def test_a_near_miss_whose_value_fits_is_an_error_and_another_a_warning() -> None:
    fits = Drawing().producer("p", replica=1).checked()
    other = Drawing().producer("p", replica="one").checked()

    assert [finding.severity for finding in fits.findings] == ["error"]
    assert [finding.severity for finding in other.findings] == ["warning"]
    assert other.compiled is not None


def test_keys_of_editors_and_unknown_keys_pass() -> None:
    data = {"width": 100, "limit": 3, "user": "ann", "name": "x", "color": "red", "frobnicate": {"a": [1]}}

    assert Drawing().producer("p", **data).codes() == []


def test_null_leaves_a_setting_unset() -> None:
    assert Drawing().producer("p", interval=None, retry={"max_attempts": None}).codes() == []


def test_a_label_is_any_text_and_never_judged() -> None:
    plan = Drawing().producer("p", label="{{ 7*7 }}\u001b[31m<script>").plan("p")

    assert plan.steps[0].label == "{{ 7*7 }}\u001b[31m<script>"


def test_a_cycle_through_queues_is_allowed_when_one_never_blocks() -> None:
    assert ping_pong(limits=None).codes() == []
    assert ping_pong(limits={"when_full": "drop-oldest"}).codes() == []
    assert ping_pong(limits={"messages": None}).codes() == ["bounded-cycle"]


def test_offline_an_unknown_node_type_is_a_warning_unless_it_is_a_near_miss() -> None:
    mine = Drawing().producer("p", uses="acme.thing").checked(offline=True)
    slip = Drawing().producer("p", uses="t.sourse").checked(offline=True)

    assert [(finding.code, finding.severity) for finding in mine.findings] == [("unknown-node-type", "warning")]
    assert mine.compiled is not None
    assert [(finding.code, finding.severity) for finding in slip.findings] == [("unknown-node-type", "error")]
    assert "did you mean 't.source'?" in slip.findings[0].message


def test_when_nobody_knows_the_node_types_only_their_form_is_judged() -> None:
    assert Drawing().producer("p", uses="acme.thing").codes(node_types=None) == []
    assert Drawing().producer("p", uses="os:system").codes(node_types=None, offline=True) == ["bad-node-type"]


def test_a_node_type_that_only_absent_agents_offer_is_a_warning() -> None:
    result = Drawing().producer("p").checked(offered={"t.node"})

    assert [(finding.code, finding.severity) for finding in result.findings] == [("absent-node-type", "warning")]
    assert result.compiled is not None


def test_messages_cut_and_escape_what_the_author_wrote() -> None:
    document = read_document(
        b'{"nodes": [{"id": "\\u001b[31m' + b"x" * 2_000_000 + b'", "type": "blocking"}]}'
    ).document

    for finding in checked(document).findings:
        assert "\x1b" not in finding.message + finding.element + finding.pointer
        assert len(finding.message) < 300
        assert len(finding.element) <= 100
