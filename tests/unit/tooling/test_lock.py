from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

HOSTS = {"pypi.org", "files.pythonhosted.org"}


@pytest.fixture(scope="module")
def root(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_lock_names_only_the_public_index(root: Path) -> None:
    lock = (root / "uv.lock").read_text(encoding="utf-8")

    assert set(re.findall(r"https?://([^/\"]+)", lock)) == HOSTS


def test_every_ignored_rule_says_why(root: Path) -> None:
    lint = (
        (root / "pyproject.toml").read_text(encoding="utf-8").split("[tool.ruff.lint]")[1].split("[tool.ruff.lint.f")[0]
    )
    rules = [line for line in lint.splitlines() if re.match(r'\s+"[A-Z]+\d*",', line)]

    assert rules
    assert [line for line in rules if "  #" not in line and " # " not in line] == []


def test_the_newest_entry_of_the_changelog_is_this_version(root: Path, project: dict[str, Any]) -> None:
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)

    assert newest
    assert newest[1] == project["project"]["version"]
