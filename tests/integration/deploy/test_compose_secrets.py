from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.acceptance.running import wait_until
from tests.require import Require
from tests.servers import binary_of


@pytest.fixture
def secrets(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    shutil.copy(pytestconfig.rootpath / "deploy" / "compose" / "make-secrets.sh", tmp_path)
    subprocess.run([tmp_path / "make-secrets.sh"], check=True)
    return tmp_path / "secrets"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def port(secrets: Path, tmp_path: Path, require: Require) -> Iterator[int]:
    """Run Valkey with the configuration of the containers, here."""
    binary = binary_of("valkey")
    require(binary, "valkey-server")
    port = free_port()
    moved = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    command = [str(binary), str(secrets / "valkey.conf"), *moved]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log) as server:
        try:
            wait_until(lambda: "Ready to accept connections" in (tmp_path / "log").read_text(), "Valkey is ready")
            yield port
        finally:
            server.kill()


def test_valkey_keeps_queues_and_lets_in_whom_the_secrets_let_in(secrets: Path, port: int) -> None:
    found = re.search(r'redis = "redis://:(\w+)@', (secrets / "agent.toml").read_text())
    assert found is not None

    with redis.Redis(port=port, password=found[1]) as friend, redis.Redis(port=port) as stranger:
        assert friend.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert friend.config_get("appendonly") == {"appendonly": "yes"}
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
