"""A workflow that ends, over real data: its sums are right, also when hosts are killed in the middle."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance import earthquakes_reference
from tests.acceptance.running import ROOT, WORKFLOWS, Dev, dev, environment, figures
from tests.pages import shell

FAILPOINTS = ("commit.before-send", "commit.after-send", "commit.after-answer")


def earthquakes(tmp_path: Path, **env: str) -> Dev:
    with dev(tmp_path, str(WORKFLOWS / "earthquakes.json"), "--state-dir", "state", **env) as running:
        assert running.wait() == 0, running.err + running.out
    return running


def test_the_earthquakes_complete_with_the_sums_of_a_plain_script(tmp_path: Path) -> None:
    running = earthquakes(tmp_path)

    assert earthquakes_reference.differences(tmp_path / "treadle-data" / "earthquakes.db") == []
    loops, queues = figures(running.out)
    assert all(loop["errors"] == 0 for loop in loops.values())
    assert all(queue["depth"] == 0 for queue in queues.values())
    assert earthquakes(tmp_path).out.count("COMPLETED") >= 3  # again over the same state: nothing runs a second time


@pytest.mark.requires("sqlite3")
def test_what_came_out_is_shown_by_the_commands(tmp_path: Path) -> None:
    earthquakes(tmp_path)
    with dev(tmp_path, str(WORKFLOWS / "host-metrics.json"), "--for", "5s") as running:
        assert running.wait() == 0, running.err
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (block,) = shell("deploy/workflows/README.md")

    env = {**environment(), "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    command = ["sh", "-euc", block.script]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.splitlines()
    assert 5 < len(printed) <= 10, "windows, then five sums; the last line prints nothing"
    assert all("|" in line for line in printed)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_the_sums_are_the_same_when_pool_hosts_are_killed_in_the_middle(tmp_path: Path, failpoint: str) -> None:
    running = earthquakes(tmp_path, TREADLE_FAILPOINTS=f"{failpoint}=kill@24")

    assert earthquakes_reference.differences(tmp_path / "treadle-data" / "earthquakes.db") == []
    log = (tmp_path / "state" / "logs" / "dev-1.log").read_text()
    assert log.count("ended with -9") >= 2, f"the fault has to bite:\n{log}\n{running.out}"
