"""What the README tells is what happens."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import pages
from tests.acceptance.running import ROOT, Dev, environment

README = "README.md"


def run(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a block as its reader would: in one shell, stopping at the first failure."""
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={**environment(), "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_first_workflow_runs_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "numbers.py").write_text(pages.blocks(README, "python")[0].text)
    (tmp_path / "numbers.json").write_text(pages.blocks(README, "json")[0].text)

    ran = run(pages.blocks(README, "sh")[0].script, tmp_path, WF_PORT="0", WF_HTTP_PORT="0")

    assert ran.returncode == 0, ran.stderr
    assert "loop numbers/count committed=" in ran.stdout
    assert '"doubled":1998' in ran.stdout.splitlines()[-1].replace(" ", "")
    assert len((tmp_path / "numbers.jsonl").read_text().splitlines()) == 1000


def test_the_commands_of_an_operator_work(cluster: Dev) -> None:
    ran = run(pages.blocks(README, "sh")[1].script, cluster.folder, WF_ADDRESS=cluster.address)

    assert ran.returncode == 0, ran.stderr + ran.stdout


@pytest.mark.requires("make")
def test_the_first_command_runs_the_sample(tmp_path: Path) -> None:
    command = pages.blocks(README, "console")[0].first
    assert command == "make run"

    ran = run(f"{command} --directory {ROOT} ARGS='--for 1s --state-dir {tmp_path} --port 0 --http-port 0'", tmp_path)

    assert ran.returncode == 0, ran.stderr
    assert "loop host-metrics/sample committed=" in ran.stdout


def test_every_page_that_is_linked_is_there() -> None:
    for page in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / README).read_text()):
        assert (ROOT / page).is_file(), page


def test_every_page_that_the_comparison_links_to_is_there() -> None:
    page = ROOT / "deploy" / "comparison.md"
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / link).is_file(), link
