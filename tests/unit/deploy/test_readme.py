from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="module")
def deploy(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy"


@pytest.fixture(scope="module")
def text(deploy: Path) -> str:
    return (deploy / "README.md").read_text()


def test_files_of_this_repository_that_are_named_are_there(deploy: Path, text: str) -> None:
    for path in re.findall(r"\bdeploy/[\w./-]*[\w]", text):
        assert (deploy.parent / path).exists() or path == "deploy/compose/secrets", path
    for name in re.findall(r"`(systemd/[\w.]+|grafana/[\w.]+|[a-z-]+\.yaml|Dockerfile)`", text):
        assert list(deploy.rglob(name)), name


def test_every_alert_is_explained(deploy: Path, text: str) -> None:
    (group,) = yaml.safe_load((deploy / "observability" / "alerts.yaml").read_text())["groups"]

    assert set(re.findall(r"\bTreadle\w+", text)) == {rule["alert"] for rule in group["rules"]}


def test_every_verb_of_the_installer_that_is_named_is_one(deploy: Path, text: str) -> None:
    installer = (deploy / "systemd" / "install.sh").read_text()

    for verb in re.findall(r"install\.sh ((?:install|rollback|uninstall)(?: --\w+)?)", text):
        assert f"install.sh {verb}" in installer, verb
