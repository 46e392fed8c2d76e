from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

SECRETS = {"valkey.conf", "controller.toml", "agent.toml"}


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy" / "compose"


@pytest.fixture(scope="module")
def compose(folder: Path) -> dict[str, Any]:
    """The file, with its anchors and merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())
    return loaded


@pytest.fixture
def secrets(folder: Path, tmp_path: Path) -> Path:
    """What make-secrets.sh writes."""
    shutil.copy(folder / "make-secrets.sh", tmp_path)
    subprocess.run([tmp_path / "make-secrets.sh"], check=True)
    return tmp_path / "secrets"


def test_the_file_keeps_to_the_specification(compose: dict[str, Any]) -> None:
    parsed = PyCompose.from_json(json.dumps(compose))

    assert set(parsed.service_names()) >= {"valkey", "controller", "agent-1", "agent-2"}


def test_everything_that_is_referred_to_is_there(compose: dict[str, Any], folder: Path) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (folder / source).is_file() if source.startswith(".") else source in compose["volumes"], volume
        if "build" in service:
            assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert set(compose["secrets"]) == SECRETS


def test_ours_run_without_privileges_and_nothing_is_open_to_the_network(compose: dict[str, Any]) -> None:
    for name in ("valkey", "authority", "controller", "token-1", "token-2", "agent-1", "agent-2"):
        service = compose["services"][name]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_nothing_is_said_in_plain_text_and_an_administrator_is_where_he_is_needed_only(
    compose: dict[str, Any], secrets: Path
) -> None:
    assert "insecure" not in json.dumps(compose) + "".join(file.read_text() for file in secrets.iterdir())
    having = {name for name, service in compose["services"].items() if "admin:" in str(service.get("volumes"))}
    assert having == {"authority", "controller", "token-1", "token-2"}


def test_agents_have_names_and_volumes_of_their_own_and_time_to_drain(compose: dict[str, Any]) -> None:
    agents = {name: service for name, service in compose["services"].items() if name.startswith("agent-")}

    assert {service["environment"]["TREADLE_AGENT_NAME"] for service in agents.values()} == set(agents)
    assert len({service["volumes"][0].split(":")[0] for service in agents.values()}) == len(agents)
    assert all(int(service["stop_grace_period"].removesuffix("s")) > 20 for service in agents.values())


def test_secrets_share_one_new_password_and_are_closed_to_others(secrets: Path) -> None:
    assert {file.name for file in secrets.iterdir()} == SECRETS
    assert secrets.stat().st_mode & 0o777 == 0o700
    found = {re.findall(r"[0-9a-f]{48}", file.read_text())[0] for file in secrets.iterdir()}
    assert len(found) == 1


def test_secrets_that_are_there_stay(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}

    again = subprocess.run([secrets.parent / "make-secrets.sh"], capture_output=True, text=True, check=True)

    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert "there already" in again.stderr


@pytest.mark.parametrize("program", ["controller", "agent"])
def test_the_daemons_take_their_secrets_as_configuration(secrets: Path, program: str) -> None:
    file = secrets / f"{program}.toml"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")}

    done = subprocess.run(
        [sys.executable, "-m", f"treadle_{program}", "--check-config", "--config", file],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert tomllib.loads(file.read_text())["redis"].endswith("@valkey:6379/0")
