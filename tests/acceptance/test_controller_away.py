"""The controller dies and comes back: the loops do not notice."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.documents import ledger, save
from tests.acceptance.running import Ran, wait_until, wfctl
from wfctl.dev.cluster import Cluster, ClusterConfig


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a cluster whose daemons nobody starts again, with a ledger that runs."""
    monkeypatch.chdir(tmp_path)
    running = Cluster(ClusterConfig(state_dir=tmp_path / "state", port=0, http_port=0))
    running.start()
    try:
        running.wait_listening(lambda _: None)
        wait_until(
            lambda: '"AGENT_STATE_READY"' in verb(running, "agent", "ls", "-o", "json").out, "the agent is ready"
        )
        file = save(tmp_path, ledger("ledger", interval="10ms"))
        assert verb(running, "apply", "-f", file).code == 0
        yield running
    finally:
        running.stop()


def verb(cluster: Cluster, *argv: str) -> Ran:
    return wfctl(*argv, address=cluster.address)


def lives(cluster: Cluster) -> dict[str, tuple[Any, ...]]:
    loops = verb(cluster, "get", "loops", "-o", "json").json["loops"]
    assert all(loop["state"] == "LOOP_STATE_RUNNING" for loop in loops), loops
    found = {}
    for loop in loops:
        (replica,) = loop["instances"]
        found[loop["name"]] = (replica["epoch"], replica["status"]["incarnation"], replica["status"]["processId"])
    return found


def stored(tmp_path: Path) -> list[int]:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY rowid")]


def kill_controller(cluster: Cluster) -> None:
    assert cluster.controller is not None
    cluster.controller.kill()
    wait_until(lambda: cluster.controller is not None and not cluster.controller.runs, "the controller is gone")


def start_controller(cluster: Cluster) -> None:
    assert cluster.controller is not None
    cluster.controller.start()
    cluster.wait_listening(lambda _: None)


def all_run(cluster: Cluster) -> bool:
    ran = verb(cluster, "get", "loops", "-o", "json")
    return ran.code == 0 and all(
        loop["state"] == "LOOP_STATE_RUNNING" and loop["instances"][0]["status"]["processId"]
        for loop in ran.json["loops"]
    )


def test_loops_go_on_without_the_controller_and_none_restarts(cluster: Cluster, tmp_path: Path) -> None:
    wait_until(lambda: all_run(cluster), "all loops are reported as running")
    before = lives(cluster)

    kill_controller(cluster)
    seen = len(stored(tmp_path))
    wait_until(lambda: len(stored(tmp_path)) > seen + 50, "the loops go on")
    start_controller(cluster)

    wait_until(lambda: all_run(cluster), "the loops are adopted")
    assert lives(cluster) == before
    numbers = stored(tmp_path)
    assert numbers == list(range(len(numbers)))


def test_a_loop_process_killed_meanwhile_comes_back_and_commits(cluster: Cluster, tmp_path: Path) -> None:
    wait_until(lambda: all_run(cluster), "all loops are reported as running")
    before = lives(cluster)
    pid = int(before["store"][2])

    kill_controller(cluster)
    os.kill(pid, signal.SIGKILL)
    seen = len(stored(tmp_path))
    wait_until(lambda: len(stored(tmp_path)) > seen + 50, "the killed loop commits again")
    start_controller(cluster)

    wait_until(lambda: all_run(cluster) and lives(cluster)["store"][2] != before["store"][2], "its new life is known")
    after = lives(cluster)
    assert after["count"] == before["count"]
    assert after["move"] == before["move"]
    assert after["store"][0] == before["store"][0]  # the same epoch: no controller was needed
    assert int(after["store"][1]) > int(before["store"][1])
    numbers = stored(tmp_path)
    assert numbers == list(range(len(numbers)))
