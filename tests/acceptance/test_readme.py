"""What the README tells is what happens."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.running import ROOT, Dev, environment

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


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
    (tmp_path / "numbers.py").write_text(blocks("python")[0])
    (tmp_path / "numbers.json").write_text(blocks("json")[0])

    ran = run(blocks("sh")[0], tmp_path, WF_PORT="0", WF_HTTP_PORT="0")

    assert ran.returncode == 0, ran.stderr
    assert "loop numbers/count committed=" in ran.stdout
    assert '"doubled":1998' in ran.stdout.splitlines()[-1].replace(" ", "")
    assert len((tmp_path / "numbers.jsonl").read_text().splitlines()) == 1000


def test_the_commands_of_an_operator_work(cluster: Dev) -> None:
    ran = run(blocks("sh")[1], cluster.folder, WF_ADDRESS=cluster.address)

    assert ran.returncode == 0, ran.stderr + ran.stdout


@pytest.mark.requires("make")
def test_the_two_commands_are_targets_of_make() -> None:
    named = re.findall(r"^\$ (make \S+)", blocks("console")[0], re.MULTILINE)

    assert named == ["make run", "make test"]
    for command in named:
        assert subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_every_page_that_is_linked_is_there() -> None:
    for page in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / page).is_file(), page


@pytest.mark.requires("make")
def test_the_commands_of_the_comparison_are_targets_of_make_and_its_pages_are_there() -> None:
    page = ROOT / "deploy" / "comparison.md"
    text = page.read_text()
    commands = re.findall(r"^\$ (make [^#\n]+)", text, re.MULTILINE)

    assert len(commands) == 4
    for command in commands:
        ran = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, check=False)
        assert ran.returncode == 0, (command, ran.stderr)
        bench = re.search(r"BENCH=(\w+)", command)
        assert bench is None or (ROOT / "tests" / "bench" / f"{bench[1]}.py").is_file()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / link).is_file(), link


def test_every_command_block_is_run_by_a_test() -> None:
    assert len(blocks("sh")) == 2
