"""What somebody sees of loops that fail, and what they do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.documents import Document, edges, node, save
from tests.acceptance.running import Dev, dev, wait_until

NODES = str(Path(__file__).with_name("nodes") / "trouble.py")


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Return a `wfctl dev` that knows the nodes."""
    with dev(tmp_path_factory.mktemp("trouble"), "--nodes", NODES) as running:
        yield running
        assert running.stop() == 0


def broken(flag: Path) -> Document:
    """Return a loop that fails at once, six times in a second or so."""
    settings = {
        "retry": {"max_attempts": 1},
        "restart": {"initial_backoff": "20ms", "max_backoff": "40ms"},
        "with": {"flag": str(flag)},
    }
    return {"name": "broken", "nodes": [node("source", "producer", 0, uses="test.broken", **settings)], "edges": []}


def deadly(flag: Path) -> Document:
    """Return a loop in which one message ends the process."""
    return {
        "name": "deadly",
        "nodes": [
            node("in", "queue-reader", 0, queue="deadly-in", external=True),
            node("work", "blocking", 200, uses="test.deadly", **{"with": {"flag": str(flag)}}),
            node("out", "queue", 400, queue="deadly-out", external=True),
        ],
        "edges": edges(("in", "work"), ("work", "out")),
    }


def test_a_loop_that_fails_six_times_is_in_error_says_why_and_comes_back_when_asked(troubled: Dev) -> None:
    flag = troubled.folder / "on-fire"
    flag.touch()
    troubled.wfctl("apply", "-f", save(troubled.folder, broken(flag)), "--detach")
    wait_until(lambda: troubled.loop("broken/source")["state"] == "LOOP_STATE_ERROR", "it gives up")

    why = troubled.wfctl("why", "broken/source")
    assert why.code == 0
    assert not why.out.splitlines()[0].startswith(" ")
    assert all(line.startswith("  ") for line in why.out.splitlines()[1:])
    assert "the machine is on fire" in why.out
    assert "it failed 6 times in 600 s" in why.out
    assert "wfctl restart" in why.out
    described = troubled.wfctl("describe", "loop", "broken/source").out
    assert "Last errors:" in described
    assert 'raise ValueError("the machine is on fire")' in described

    flag.unlink()
    assert troubled.wfctl("restart", "broken/source").code == 0
    assert troubled.loop("broken/source")["state"] == "LOOP_STATE_RUNNING"


def test_the_last_errors_of_a_loop_are_told_with_attempt_input_and_traceback(troubled: Dev) -> None:
    retry = {"max_attempts": 2, "initial_backoff": "1ms"}
    document = {
        "name": "picky",
        "nodes": [
            node("in", "queue-reader", 0, queue="picky-in", external=True),
            node("work", "blocking", 200, uses="test.picky", retry=retry),
        ],
        "edges": edges(("in", "work")),
    }
    assert troubled.wfctl("apply", "-f", save(troubled.folder, document)).code == 0
    assert troubled.wfctl("queue", "push", "picky-in", *(json.dumps({"n": n}) for n in range(7))).code == 0

    def errors() -> list[str]:
        told = troubled.wfctl("describe", "loop", "picky/in").out.partition("Last errors:")[2]
        return [line for line in told.splitlines() if ", attempt " in line]

    wait_until(lambda: len(errors()) == 5 and "{'n': 6}" in errors()[-1], "the last five of fourteen")
    ends = [line.partition(", attempt ")[2] for line in errors()]
    assert ends == [f"{attempt}, on {{'n': {n}}}" for n, attempt in ((4, 2), (5, 1), (5, 2), (6, 1), (6, 2))]
    assert "raise ValueError(f\"not {data['n']}\")" in troubled.wfctl("describe", "loop", "picky/in").out


def strict(flag: Path) -> Document:
    """Return two loops, one of which stops them both when it fails."""
    settings = {"retry": {"max_attempts": 1, "on_exhausted": "stop-workflow"}, "with": {"flag": str(flag)}}
    return {
        "name": "strict",
        "nodes": [
            node("source", "producer", 0, uses="test.broken", **settings),
            node("other", "producer", 0, uses="generate", interval="10ms"),
        ],
        "edges": [],
    }


def test_a_node_that_stops_its_workflow_says_so_for_every_loop_and_a_start_runs_it_again(troubled: Dev) -> None:
    flag = troubled.folder / "strict"
    assert troubled.wfctl("apply", "-f", save(troubled.folder, strict(flag))).code == 0
    flag.touch()
    loops = ("strict/source", "strict/other")
    wait_until(lambda: {troubled.loop(loop)["state"] for loop in loops} == {"LOOP_STATE_STOPPED"}, "all loops stop")

    for loop in loops:
        why = troubled.wfctl("why", loop)
        assert why.code == 0
        assert all(line.startswith("  ") for line in why.out.splitlines()[1:])
        assert "source failed and stops its whole workflow: node 'source'" in why.out
        assert "the machine is on fire" in why.out
        assert "wfctl start strict" in why.out
    assert "workflow-stopped" in troubled.wfctl("events", "strict").out
    assert 'raise ValueError("the machine is on fire")' in troubled.wfctl("describe", "loop", "strict/source").out

    flag.unlink()
    mended = strict(flag)
    mended["nodes"][1]["data"]["interval"] = "20ms"
    mended["nodes"].append(node("third", "producer", 0, uses="generate", interval="10ms"))
    applied = troubled.wfctl("apply", "-f", save(troubled.folder, mended))
    assert applied.code != 0
    assert "source failed and stops its whole workflow: node 'source'" in applied.err
    for loop in (*loops, "strict/third"):
        assert troubled.loop(loop)["state"] == "LOOP_STATE_STOPPED"
        assert "source failed and stops its whole workflow: node 'source'" in troubled.wfctl("why", loop).out
    assert troubled.wfctl("start", "strict").code == 0
    every = (*loops, "strict/third")
    assert {troubled.loop(loop)["state"] for loop in every} == {"LOOP_STATE_RUNNING"}
    wait_until(lambda: rollout(troubled) == (2, "ROLLOUT_STATE_HEALTHY"), "the revision that came meanwhile is healthy")


def rollout(running: Dev) -> tuple[int, str]:
    """Return the newest revision, and how its rollout stands."""
    found = running.wfctl("describe", "workflow", "strict", "-o", "json").json
    return int(found["revision"]), found["rollout"]["state"]


def test_a_message_that_ends_its_process_is_a_dead_letter_and_comes_back_once_when_replayed(troubled: Dev) -> None:
    flag = troubled.folder / "deadly"
    flag.touch()
    assert troubled.wfctl("apply", "-f", save(troubled.folder, deadly(flag))).code == 0
    assert troubled.wfctl("queue", "push", "deadly-in", *(json.dumps({"n": n}) for n in range(6))).code == 0

    wait_until(lambda: out(troubled) == [0, 1, 2, 4, 5], "its neighbours are through")
    (letter,) = troubled.wfctl("dlq", "ls", "deadly-in", "-o", "json").json["deadLetters"]
    assert "poison" in json.dumps(letter)
    wait_until(lambda: "dead-letter" in troubled.wfctl("events", "deadly").out, "its event is told")
    events = troubled.wfctl("events", "deadly").out
    assert "loop-isolated" in events
    assert events.count("Segmentation") + events.count("signal 11") <= 4

    flag.unlink()
    assert troubled.wfctl("dlq", "replay", "deadly-in", "--all").code == 0
    wait_until(lambda: sorted(out(troubled)) == [0, 1, 2, 3, 4, 5], "it came back")
    assert troubled.wfctl("dlq", "ls", "deadly-in", "-o", "json").json.get("deadLetters", []) == []
    assert "ERROR" not in troubled.wfctl("events", "deadly").out


def out(running: Dev) -> list[int]:
    """Return what came through."""
    lines = running.wfctl("queue", "peek", "deadly-out", "--limit", "100").out.splitlines()
    return [json.loads(line)["payload"]["n"] for line in lines]
