"""Queues as people operate them: scaling under load, dead letters, and what holds the queues."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tests.acceptance.documents import edges, ledger, node, save
from tests.acceptance.running import Dev, dev, wait_until

LIMIT = 4_000
INTERVAL_S = 0.002


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Return a cluster with two agents."""
    with dev(tmp_path_factory.mktemp("pair"), "--agents", "2") as running:
        yield running
        assert running.stop() == 0


def test_a_loop_scaled_to_three_and_back_under_load_loses_and_doubles_nothing(pair: Dev) -> None:
    document = ledger("scaled", limit=LIMIT)
    document["nodes"][0]["data"]["interval"] = INTERVAL_S
    assert pair.wfctl("apply", "--detach", "-f", save(pair.folder, document)).code == 0
    wait_until(lambda: committed(pair, "scaled/move") > 500, "messages flow")

    up = pair.wfctl("scale", "scaled/move", "--replicas", "3")

    assert up.code == 0, up.err
    shown = pair.loop("scaled/move")
    assert {one["agent"] for one in shown["instances"]} == {"dev-1", "dev-2"}
    at = committed(pair, "scaled/store")
    wait_until(lambda: committed(pair, "scaled/store") > at, "messages flow through three")
    down = pair.wfctl("scale", "scaled/move", "--replicas", "1")
    assert down.code == 0, down.err
    wait_until(lambda: pair.loop("scaled/store")["state"] == "LOOP_STATE_COMPLETED", "all is done", 120)
    with closing(sqlite3.connect(Path(pair.folder, "scaled.db"))) as table:
        found = [n for (n,) in table.execute("select n from t order by n")]
    assert found == list(range(LIMIT))
    assert "3 reader slots" in pair.wfctl("events", "scaled").out
    assert pair.wfctl("delete", "workflow", "scaled", "--with-queues").code == 0


def committed(cluster: Dev, loop: str) -> int:
    return int(cluster.loop(loop)["committed"])


def test_what_cannot_be_scaled_is_refused_with_the_reason(pair: Dev) -> None:
    assert pair.wfctl("apply", "-f", save(pair.folder, ledger("fixed", interval="1s"))).code == 0

    refused = pair.wfctl("scale", "fixed/count", "--replicas", "2")

    assert (refused.code, "no queue-reader" in refused.err) == (1, True), refused.err
    assert pair.wfctl("scale", "fixed", "--replicas", "2").code == 2
    assert pair.wfctl("scale", "fixed/none", "--replicas", "2").code == 4
    assert pair.wfctl("scale", "fixed/move", "--replicas", "0").code == 2
    changed = ledger("fixed", interval="1s")
    changed["nodes"][1]["data"]["limits"] = {"messages": 5}
    differs = pair.wfctl("diff", save(pair.folder, changed))
    assert (differs.code, "~ queue fixed-numbers changed" in differs.out) == (1, True), differs
    assert "queue fixed-numbers changed" in pair.wfctl("apply", "-f", save(pair.folder, changed)).out
    assert pair.wfctl("delete", "workflow", "fixed", "--with-queues").code == 0


def test_dead_letters_are_listed_shown_replayed_and_dropped(pair: Dev) -> None:
    failing = {"set": {"half": "data.n / data.by"}}
    document = {
        "name": "halves",
        "nodes": [
            node("in", "queue-reader", 0, queue="halves", external=True),
            node("divide", "blocking", 200, uses="transform", retry={"max_attempts": 1}, **{"with": failing}),
        ],
        "edges": edges(("in", "divide")),
    }
    assert pair.wfctl("apply", "-f", save(pair.folder, document)).code == 0
    assert pair.wfctl("dlq", "ls", "halves", "-o", "json").json["deadLetters"] == []
    assert pair.wfctl("queue", "push", "halves", '{"n": 1, "by": 0}', '{"n": 4, "by": 2}').code == 0
    (letter,) = wait_until(lambda: letters(pair), "a message becomes a dead letter")

    shown = pair.wfctl("dlq", "show", "halves", letter["id"])
    assert (shown.code, '{"n": 1, "by": 0}' in shown.out, "ZeroDivision" in shown.out) == (0, True, True), shown
    assert "divide" in pair.wfctl("dlq", "ls", "halves").out
    replayed = pair.wfctl("dlq", "replay", "halves", letter["iteration"])
    assert replayed.out == "replayed 1 dead letters of halves\n", replayed
    (again,) = wait_until(lambda: [one for one in letters(pair) if one["id"] != letter["id"]], "it failed again")
    assert pair.wfctl("dlq", "show", "halves", letter["id"]).code == 4
    assert pair.wfctl("dlq", "drop", "halves").code == 2
    assert pair.wfctl("dlq", "drop", "halves", "--all").out == "dropped 1 dead letters of halves\n"
    assert letters(pair) == []
    assert again["messageId"] == "default/halves/3"
    headers = msgspec.msgpack.decode(base64.b64decode(again["headers"]))
    assert headers["origin"] == "default/halves/1", "effects are known by the id that the message had at first"
    assert "dead-letters-replayed" in pair.wfctl("describe", "queue", "halves").out


def letters(cluster: Dev) -> list[dict[str, str]]:
    found: list[dict[str, str]] = cluster.wfctl("dlq", "ls", "halves", "-o", "json").json["deadLetters"]
    return found


def test_describe_says_what_holds_the_queues(pair: Dev) -> None:
    document = {
        "name": "held",
        "nodes": [node("in", "queue-reader", 0, queue="held", external=True), node("tell", "blocking", 1, uses="log")],
        "edges": edges(("in", "tell")),
    }
    assert pair.wfctl("apply", "-f", save(pair.folder, document)).code == 0

    described = pair.wfctl("describe", "queue", "held")

    assert "persistence: append-only file, fsync always" in described.out
    assert "warning" not in described.err
    assert json.loads(pair.wfctl("describe", "queue", "held", "-o", "json").out)["name"] == "held"
