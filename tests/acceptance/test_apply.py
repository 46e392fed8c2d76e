"""Changing what runs: only what has to restart does, and nothing is lost or done twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.documents import Document, edges, ledger, node, save
from tests.acceptance.running import ROOT, Dev, wait_until


def lives(cluster: Dev, workflow: str) -> dict[str, tuple[Any, ...]]:
    """Return what changes when a loop is restarted: epoch, incarnation and process."""
    loops = cluster.wfctl("get", "loops", workflow, "-o", "json").json["loops"]
    found = {}
    for loop in loops:
        (replica,) = loop["instances"]
        status = replica["status"]
        found[loop["name"]] = (replica["agent"], replica["epoch"], status["incarnation"], status["processId"])
    return found


def committed(cluster: Dev, loop: str) -> int:
    return int(cluster.loop(loop)["committed"])


def applied(cluster: Dev, document: Document) -> dict[str, str]:
    """Apply a document and return what became of each loop."""
    ran = cluster.wfctl("apply", "-f", save(cluster.folder, document))
    assert ran.code == 0, ran.err + ran.out
    return {line.split()[0].partition("/")[2]: line.split()[1] for line in ran.out.splitlines()}


def numbers(cluster: Dev, name: str) -> list[int]:
    with closing(sqlite3.connect(cluster.folder / f"{name}.db")) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


def test_the_same_again_and_a_moved_box_change_nothing(cluster: Dev) -> None:
    document = ledger("still", interval="20ms")
    assert set(applied(cluster, document).values()) == {"created"}
    before = lives(cluster, "still")

    assert set(applied(cluster, document).values()) == {"unchanged"}
    document["nodes"][0]["position"] = {"x": -500, "y": 77}
    document["nodes"].reverse()
    assert set(applied(cluster, document).values()) == {"unchanged"}

    seen = committed(cluster, "still/count")
    wait_until(lambda: committed(cluster, "still/count") > seen, "it goes on")
    assert lives(cluster, "still") == before
    assert cluster.wfctl("delete", "workflow", "still").code == 0


def test_a_changed_loop_restarts_alone_and_loses_and_doubles_nothing(cluster: Dev) -> None:
    document = ledger("change", interval="2ms")
    applied(cluster, document)
    wait_until(lambda: committed(cluster, "change/store") > 20, "numbers arrive")
    before = lives(cluster, "change")

    for factor in (3, 4):
        document["nodes"][3]["data"]["with"] = {"set": {"twice": f"data.n * {factor}"}}
        assert applied(cluster, document) == {"count": "unchanged", "move": "changed", "store": "unchanged"}

    after = lives(cluster, "change")
    assert (after["count"], after["store"]) == (before["count"], before["store"])
    assert int(after["move"][1]) > int(before["move"][1])
    assert cluster.wfctl("stop", "change/count").code == 0
    made = committed(cluster, "change/count")
    wait_until(lambda: len(numbers(cluster, "change")) >= made, "all numbers arrive")
    assert numbers(cluster, "change") == list(range(made))
    assert cluster.wfctl("delete", "workflow", "change").code == 0


def test_what_would_change_is_said_before(cluster: Dev) -> None:
    document = ledger("plan", interval="20ms")
    file = save(cluster.folder, document)
    planned = cluster.wfctl("plan", file)
    assert (planned.code, planned.out.count("created")) == (1, 3)
    assert "dev-" in planned.out
    assert cluster.wfctl("get", "workflows", "plan").code == 4

    applied(cluster, document)
    assert (cluster.wfctl("plan", file).code, cluster.wfctl("diff", file).code) == (0, 0)
    document["nodes"][0]["data"]["interval"] = "30ms"
    diff = cluster.wfctl("diff", save(cluster.folder, document))
    assert diff.code == 1
    assert "~ plan/count changed" in diff.out
    assert "interval" in diff.out
    assert cluster.wfctl("delete", "workflow", "plan", "--with-queues").code == 0


def test_a_revision_that_moved_on_is_a_conflict(cluster: Dev) -> None:
    document = ledger("race", interval="50ms")
    file = save(cluster.folder, document)

    assert cluster.wfctl("apply", "-f", file, "--if-revision", "7").code == 5
    assert cluster.wfctl("apply", "-f", file, "--if-revision", "0").code == 0
    assert cluster.wfctl("apply", "-f", file, "--if-revision", "0").code == 5
    assert cluster.wfctl("delete", "workflow", "race").code == 0


def test_a_loop_that_no_agent_can_take_is_exit_code_7(cluster: Dev) -> None:
    document = ledger("homeless")
    document["nodes"][0]["data"]["placement"] = {"labels": {"planet": "mars"}}
    file = save(cluster.folder, document)

    planned = cluster.wfctl("plan", file)
    assert planned.code == 7
    assert "homeless/count can't be placed: no-matching-labels" in planned.err
    assert "planet=mars" in planned.err
    ran = cluster.wfctl("apply", "-f", file, "--wait-timeout", "500ms")
    assert ran.code == 7
    assert "planet" in ran.err
    assert "planet" in cluster.wfctl("why", "homeless/count").out
    assert cluster.wfctl("delete", "workflow", "homeless").code == 0


def test_bad_json_is_refused_with_findings_and_changes_nothing(cluster: Dev, tmp_path: Path) -> None:
    before = cluster.wfctl("get", "workflows", "-o", "name").out
    for number, content in enumerate(BAD):
        file = tmp_path / f"bad-{number}.json"
        file.write_bytes(content)

        ran = cluster.wfctl("apply", "-f", str(file), "-o", "json")

        assert ran.code == 3, (content[:60], ran)
        assert any(finding["severity"] == "error" and finding["code"] for finding in ran.json), content[:60]
    assert cluster.wfctl("get", "workflows", "-o", "name").out == before


def test_bad_parameters_name_field_type_and_node_type(cluster: Dev) -> None:
    document = ledger("params")
    document["nodes"][0]["data"]["with"] = {"limit": "many"}

    ran = cluster.wfctl("apply", "-f", save(cluster.folder, document))

    assert ran.code == 3
    assert "bad-params" in ran.out
    assert all(word in ran.out for word in ("limit", "integer", "generate"))


def test_exports_of_other_products_end_in_findings(cluster: Dev, require: Any) -> None:
    folder = ROOT.parent / "shared" / "reactflow"
    require(folder.is_dir(), "the React Flow exports in ../shared/reactflow")
    for file in sorted(folder.glob("*.json")):
        ran = cluster.wfctl("validate", str(file), "-o", "json")

        assert ran.code == 3
        assert any(finding["severity"] == "error" for finding in ran.json), file


def graph(*nodes: Document, links: list[Document] | None = None) -> bytes:
    import json

    return json.dumps({"nodes": list(nodes), "edges": links or []}).encode()


def producer(name: str = "p", **data: Any) -> Document:
    return node(name, "producer", 0, uses="generate", **data)


def ring(size: int) -> bytes:
    names = [f"n{i}" for i in range(size)]
    nodes = [producer(), *(node(name, "blocking", 0, uses="log") for name in names)]
    pairs = [("p", "n0"), *zip(names, [*names[1:], names[0]], strict=True)]
    return graph(*nodes, links=edges(*pairs))


BAD: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b'{"nodes": [',
    '{"nodes": [], "edges": []}'.encode("utf-16"),
    b"\xef\xbb\xbf" + graph(producer()),
    b'{"nodes": [], "edges": [], "name": "a\x00b"}',
    b"[" * 100_000 + b"]" * 100_000,
    b'{"nodes": [], "edges": [], "x": ' + b"9" * 5_000 + b"}",
    b'{"nodes": [], "edges": [], "x": NaN}',
    b'{"nodes": [], "nodes": [], "edges": []}',
    b'{"nodes": [], "edges": [], "name": "\\ud800"}',
    b'{"nodes": [' + b",".join([b"{}"] * 1_000_000) + b"]}",
    graph(producer(), producer()),
    graph(producer(), node("a", "blocking", 0, uses="log"), links=edges(("p", "a"), ("a", "a"))),
    ring(3),
    ring(5_000),
    graph(*(producer(f"p{i}") for i in range(10_001))),
    graph(producer("x" * 1_000_000)),
    *(graph(producer(name)) for name in ("a\nb", "\x1b[2J", "..", "a/b", "{}", "*", "")),
    graph(producer(replicas=True)),
    graph(producer(replicas=-1)),
    graph(producer(replicas=2**63)),
    graph(producer(interval=-1)),
    graph(producer(interval=2**63)),
    graph(producer(pool=7)),
    graph(node("p", "producer", 0, uses="os:system")),
    graph(node("p", "producer", 0, uses="builtins:eval")),
    graph(producer(placement={"labels": {"a": {"$secret": "other/namespace"}}})),
]
