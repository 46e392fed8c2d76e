"""Operating what runs: stop and start, look at queues, logs and events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.documents import edges, ledger, node, save
from tests.acceptance.running import Dev, wait_until
from wfctl.client import actor


@pytest.fixture(scope="module")
def ticking(cluster: Dev) -> Iterator[Dev]:
    """Return the cluster with a workflow in it that counts slowly, logs, and never ends."""
    document = ledger("tick", interval="20ms")
    document["nodes"].append(node("tell", "blocking", 300, uses="log", **{"with": {"message": "counted"}}))
    document["edges"] += edges(("count", "tell"))
    assert cluster.wfctl("apply", "-f", save(cluster.folder, document)).code == 0
    yield cluster
    assert cluster.wfctl("delete", "workflow", "tick", "--with-queues").code == 0


def state(cluster: Dev, loop: str) -> str:
    found: str = cluster.loop(loop)["state"].removeprefix("LOOP_STATE_")
    return found


def test_loops_stop_start_pause_resume_and_restart(ticking: Dev) -> None:
    for verb, what, reached in (
        ("stop", "tick/count", "STOPPED"),
        ("start", "tick/count", "RUNNING"),
        ("pause", "tick/count", "PAUSED"),
        ("resume", "tick/count", "RUNNING"),
        ("restart", "tick/count", "RUNNING"),
    ):
        ran = ticking.wfctl(verb, what)

        assert ran.code == 0, ran.err
        assert state(ticking, what) == reached, verb
    assert state(ticking, "tick/move") == "RUNNING"


def test_a_stopped_loop_goes_on_from_its_state_unless_restarted_fresh(ticking: Dev) -> None:
    def last() -> int:
        return max((m["payload"]["n"] for m in messages(ticking, "tick-numbers")), default=-1)

    assert ticking.wfctl("stop", "tick/move").code == 0
    wait_until(lambda: last() >= 0, "numbers wait")
    assert ticking.wfctl("stop", "tick/count").code == 0
    reached = last()
    assert ticking.wfctl("start", "tick/count").code == 0
    wait_until(lambda: last() > reached, "it counts on")
    assert ticking.wfctl("restart", "--fresh", "tick/count").code == 0
    wait_until(lambda: [m for m in messages(ticking, "tick-numbers", 1000)[1:] if m["payload"]["n"] == 0], "from 0")
    assert ticking.wfctl("start", "tick/move").code == 0


def messages(cluster: Dev, queue: str, limit: int = 100) -> list[Any]:
    ran = cluster.wfctl("queue", "peek", queue, "--limit", str(limit))
    return [json.loads(line) for line in ran.out.splitlines()]


def test_what_runs_is_listed_and_described(ticking: Dev) -> None:
    assert "tick" in ticking.wfctl("get", "workflows").out
    loops = ticking.wfctl("get", "loops", "tick", "-o", "wide").out
    assert all(word in loops for word in ("count", "thread", "move", "asyncio", "store", "process", "RUNNING"))
    assert "loop/tick/count" in ticking.wfctl("get", "loops", "-o", "name").out.split()
    assert "tick-numbers" in ticking.wfctl("queue", "ls").out
    assert "dev-1" in ticking.wfctl("agent", "ls").out
    wait_until(lambda: "generate" in ticking.wfctl("get", "nodes", "tick").out, "its nodes are reported")
    assert "sql.insert" in ticking.wfctl("node-types", "ls").out
    assert '"limit"' in ticking.wfctl("node-types", "show", "generate").out
    for kind, name in (("workflow", "tick"), ("loop", "tick/count"), ("agent", "dev-1"), ("queue", "tick-numbers")):
        ran = ticking.wfctl("describe", kind, name)
        assert (ran.code, name in ran.out) == (0, True), ran
        assert json.loads(ticking.wfctl("describe", kind, name, "-o", "json").out)
    assert ticking.wfctl("rollout", "history", "tick", "-o", "json").json["revisions"]
    assert ticking.wfctl("rollout", "status", "tick").code == 0
    assert "tick/count" in ticking.wfctl("events", "tick").out
    assert ticking.wfctl("why", "tick/count").out.strip()
    assert "RATE/S" in ticking.wfctl("top").out


def test_logs_of_nodes_are_streamed(ticking: Dev) -> None:
    wait_until(lambda: "counted" in ticking.wfctl("logs", "tick/count", "--for", "1s").out, "a line is logged")

    new = ticking.wfctl("logs", "-f", "tick", "--since", "0", "--timeout", "1s", "--for", "1s", "-o", "json")
    assert new.code == 0


def test_lines_of_the_past_are_there_at_once_and_can_be_narrowed(ticking: Dev) -> None:
    wait_until(lambda: "counted" in ticking.wfctl("logs", "tick").out, "a line is remembered")

    assert "counted" in ticking.wfctl("logs", "tick/count", "--node", "tell", "--level", "info").out
    for narrowed in (("--level", "error"), ("--node", "count"), ("--since", "0")):
        assert ticking.wfctl("logs", "tick/count", *narrowed).out == "", narrowed
    wrong = ticking.wfctl("logs", "tick/count", "--node", "tel")
    assert (wrong.code, "did you mean 'tell'?" in wrong.err) == (4, True)
    lines = [json.loads(line) for line in ticking.wfctl("logs", "tick/count", "-o", "json").out.splitlines()]
    assert {(line["workflow"], line["loop"], line["node"], line["level"]) for line in lines} == {
        ("tick", "count", "tell", "INFO")
    }


def test_events_say_what_happened_and_by_whom_and_can_be_narrowed(ticking: Dev) -> None:
    assert ticking.wfctl("pause", "tick/move").code == 0
    assert ticking.wfctl("resume", "tick/move").code == 0

    def codes(*argv: str) -> set[str]:
        found = ticking.wfctl("events", *argv, "-o", "json").json["events"]
        return {event["code"] for event in found}

    assert {"loop-paused", "loop-started"} <= codes("tick/move")
    assert codes("tick/move", "--code", "loop-paused") == {"loop-paused"}
    assert "loop-paused" in codes("tick/move", "--actor", actor())
    assert "loop-paused" not in codes("tick/move", "--actor", "nobody")
    assert codes("--kind", "agent", "--name", "dev-1") >= {"agent-connected"}
    assert codes("tick", "--since", "0") == set()
    assert "loop-paused" not in codes("tick/store")
    described = ticking.wfctl("describe", "loop", "tick/move").out
    assert f"loop-paused: loop paused (by {actor()})" in described


def test_messages_are_pushed_peeked_and_purged(ticking: Dev) -> None:
    document = {
        "name": "inbox",
        "nodes": [
            node("in", "queue-reader", 0, queue="inbox", external=True),
            node("tell", "blocking", 200, uses="log"),
        ],
        "edges": edges(("in", "tell")),
    }
    assert ticking.wfctl("apply", "-f", save(ticking.folder, document)).code == 0
    assert ticking.wfctl("stop", "inbox").code == 0

    pushed = ticking.wfctl("queue", "push", "inbox", '{"a": 1}', "--producer", "test", "--sequence", "1")
    assert (pushed.code, pushed.out) == (0, "pushed 1 to inbox, numbers 1 to 1\n")
    assert "before" in ticking.wfctl("queue", "push", "inbox", '{"a": 1}', "--producer", "test", "--sequence", "1").out
    assert ticking.wfctl("queue", "push", "inbox", stdin='{"a": 2}\n{"a": 3}\n').code == 0
    assert [m["payload"] for m in messages(ticking, "inbox")] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert ticking.wfctl("queue", "purge", "inbox").out == "dropped 3 messages of inbox\n"
    assert messages(ticking, "inbox") == []
    assert ticking.wfctl("queue", "delete", "inbox").code != 0
    assert ticking.wfctl("delete", "workflow", "inbox").code == 0
    assert ticking.wfctl("queue", "delete", "inbox").code == 0
    assert ticking.wfctl("queue", "peek", "inbox").code == 4


def test_what_is_not_there_is_exit_code_4(ticking: Dev) -> None:
    for argv in (
        ("get", "workflows", "nothing"),
        ("describe", "loop", "tick/nothing"),
        ("stop", "nothing"),
        ("delete", "workflow", "nothing"),
        ("describe", "agent", "nobody"),
        ("node-types", "show", "no.such"),
        ("why", "tick/nothing"),
    ):
        ran = ticking.wfctl(*argv)
        assert (ran.code, ran.out) == (4, ""), (argv, ran)
        assert "nothing" in ran.err or "nobody" in ran.err or "no.such" in ran.err, ran.err


def test_a_drained_agent_hands_its_loops_over(ticking: Dev) -> None:
    agent = ticking.loop("tick/count")["instances"][0]["agent"]

    assert ticking.wfctl("agent", "drain", agent, "--deadline", "20s").code == 0
    wait_until(lambda: ticking.loop("tick/count")["instances"][0]["agent"] not in {agent, ""}, "it runs elsewhere")
    wait_until(lambda: state(ticking, "tick/count") == "RUNNING", "it runs again")
    assert ticking.wfctl("agent", "uncordon", agent).code == 0
    assert "READY" in ticking.wfctl("agent", "ls").out
