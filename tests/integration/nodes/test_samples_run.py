"""The sample workflows do what they say, in one process."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from treadle.testing import WorkflowHarness

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def reference() -> ModuleType:
    path = ROOT / "tests" / "acceptance" / "earthquakes_reference.py"
    spec = importlib.util.spec_from_file_location("earthquakes_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that has the repository's files and none of its own yet."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_earthquakes_add_up_to_what_a_plain_script_calculates(root: Path, reference: Any) -> None:
    with WorkflowHarness("deploy/workflows/earthquakes.json") as harness:
        harness.run()

        assert harness.completed
        assert harness.committed["read"] == 1707

    assert reference.differences(root / "treadle-data" / "earthquakes.db") == []


def test_running_the_earthquakes_again_changes_nothing(root: Path, reference: Any) -> None:
    for _ in range(2):
        with WorkflowHarness("deploy/workflows/earthquakes.json") as harness:
            harness.run()

    assert reference.differences(root / "treadle-data" / "earthquakes.db") == []


def test_the_earthquakes_add_up_when_every_loop_crashes_again_and_again(root: Path, reference: Any) -> None:
    with WorkflowHarness("deploy/workflows/earthquakes.json") as harness:
        crashes = 0
        while not harness.completed and crashes < 100:
            harness.hold()
            harness.settle()
            harness.release(commits=300)  # of what is in flight; the rest is lost and done again
            harness.crash()
            crashes += 1

        assert harness.completed
        assert crashes > 10
        assert harness.committed["read"] == 1707

    assert reference.differences(root / "treadle-data" / "earthquakes.db") == []


def test_the_reference_notices_a_difference(root: Path, reference: Any) -> None:
    with WorkflowHarness("deploy/workflows/earthquakes.json") as harness:
        harness.run()
    database = root / "treadle-data" / "earthquakes.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE earthquakes_by_region_and_day SET quakes = quakes + 1 WHERE region = 'Alaska'")
        connection.execute("DELETE FROM strong_earthquakes WHERE id = (SELECT min(id) FROM strong_earthquakes)")

    lines = reference.differences(database)

    assert len([line for line in lines if "Alaska" in line]) == 8
    assert len([line for line in lines if "strong" in line]) == 1


def test_the_host_metrics_reach_the_database_in_windows_of_two_seconds(root: Path) -> None:
    with WorkflowHarness("deploy/workflows/host-metrics.json") as harness:
        harness.run(seconds=9)

        assert harness.messages("host-windows") == []
        assert 30 <= harness.committed["sample"] <= 37

    with closing(sqlite3.connect(root / "treadle-data" / "host-metrics.db")) as connection:
        rows = connection.execute('SELECT host, count, cpu_mean, memory_percent, "end" FROM host_metrics').fetchall()
    assert len(rows) in {4, 5}
    assert {row[1] for row in rows[1:]} == {8}
    assert all(row[0] and 0 <= row[2] <= 100 and 0 < row[3] <= 100 for row in rows)
