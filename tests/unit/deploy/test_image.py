from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def dockerfile(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy" / "Dockerfile"


def test_the_linter_finds_nothing(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_not_kept_out(pytestconfig: pytest.Config, dockerfile: Path) -> None:
    ignore = dockerfile.with_name("Dockerfile.dockerignore").read_text().splitlines()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE)

    sources = [source for copy in copies for source in copy.split()]

    assert {"agent", "controller", "pyproject.toml", "uv.lock"} <= set(sources)
    for source in sources:
        assert (pytestconfig.rootpath / source).exists(), source
        assert f"!{source}" in ignore, source


def test_what_packaging_reads_is_copied(pytestconfig: pytest.Config, dockerfile: Path) -> None:
    project = (pytestconfig.rootpath / "pyproject.toml").read_text()
    copied = " ".join(re.findall(r"^COPY (.+)$", dockerfile.read_text(), re.MULTILINE))

    assert ("README.md" in copied) == bool(re.search(r"^readme\b", project, re.MULTILINE))
    assert "LICENSE" in copied


def test_it_does_not_run_as_root(dockerfile: Path) -> None:
    last = dockerfile.read_text().rpartition("\nFROM ")[2]

    assert re.findall(r"^USER (\d+):(\d+)$", last, re.MULTILINE) == [("65532", "65532")]
