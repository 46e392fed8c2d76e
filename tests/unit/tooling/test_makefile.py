from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.pages import shell
from tests.require import Require

PAGES = ("CONTRIBUTING.md", "README.md", "deploy/README.md", "deploy/comparison.md", "tests/README.md")
TARGETS = ("run", "test", "check", "lint", "protos", "bench", "chaos")


@pytest.fixture(scope="module")
def root(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # The flags of the make that may be running these tests are not those of the make under test.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.requires("make")
def test_make_alone_lists_every_target_with_a_line(root: Path) -> None:
    listed = make(root).stdout

    for target in TARGETS:
        assert re.search(rf"^make {target} +\w.+$", listed, re.MULTILINE), target


@pytest.mark.requires("make")
@pytest.mark.parametrize("missing", ["python3", "git"])
def test_a_fresh_machine_is_told_what_is_missing(root: Path, tmp_path: Path, require: Require, missing: str) -> None:
    clone, path = tmp_path / "clone", tmp_path / "bin"
    clone.mkdir()
    path.mkdir()
    for name in ("make", "sh", "bash", "git"):
        if name != missing:
            (path / name).symlink_to(require.program(name))
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        (clone / name).symlink_to(root / name)

    done = make(clone, "check", PATH=str(path))

    assert done.returncode != 0
    assert f"apt-get install {missing}" in done.stderr


@pytest.mark.requires("make")
def test_a_python_without_venv_is_told_what_to_install(root: Path, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n', encoding="utf-8")
    python.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        (tmp_path / name).symlink_to(root / name)

    done = make(tmp_path, "check", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert done.returncode != 0
    assert "python3 has no venv; install it (Debian: apt-get install python3-venv)" in done.stderr


@pytest.mark.requires("make")
def test_arguments_reach_the_program_that_run_starts(root: Path) -> None:
    planned = make(root, "--dry-run", "run", "ARGS=--for 8s").stdout

    assert ".venv/bin/wfctl dev deploy/workflows/host-metrics.json --for 8s" in planned


@pytest.mark.requires("make")
def test_bench_names_reach_the_runner(root: Path) -> None:
    planned = make(root, "--dry-run", "bench", "BENCH=loop", "QUICK=1").stdout

    assert "for name in loop;" in planned
    assert "tests/bench/run.py $name --quick" in planned


@pytest.mark.requires("make")
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_are_targets_and_tests(root: Path, page: str) -> None:
    """Make says what it would do, and pytest finds tests: all of them, run here, would run themselves again."""
    commands = [line for block in shell(page) for line in block.commands()]
    asked = [line for line in commands if re.match(r"(\w+=\S+ )*(make|pytest) ", line)]
    assert asked

    for line in asked:
        if "make" in line.split():
            done = make(root, *line.split()[1:], "-n")
            assert done.returncode == 0, (line, done.stderr)
            bench = re.search(r"BENCH=(\w+)", line)
            assert bench is None or (root / "tests" / "bench" / f"{bench[1]}.py").is_file(), line
        for path in re.findall(r"tests/\S+", line):
            assert list((root / path).glob("test_*.py")) or (root / path).is_file(), line
