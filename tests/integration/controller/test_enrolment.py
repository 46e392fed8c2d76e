"""Real agents that enrol with tokens of `wfctl`, keep their key, renew and are revoked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import redis
from cryptography import x509

from tests.integration.controller.secured import SecuredController
from tests.servers import TestServer
from treadle_controller.ca_tool import main as ca_tool

_PATIENCE_S: Final = 40.0
_LIFE_S: Final = 4.0


class Site:
    """A controller with short certificates, its administrator's files, and agents."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.controller = SecuredController(folder, redis_url, TREADLE_CONTROLLER_AGENT_CERTIFICATE_S=str(_LIFE_S))
        self.agents: list[subprocess.Popen[bytes]] = []
        create = ["client", "create", "root", "--role", "admin", "--dir", str(self.controller.tls)]
        assert ca_tool([*create, "--out", str(folder / "root")]) == 0

    def wfctl(self, *arguments: str) -> str:
        files = ("cacert", "ca.pem"), ("cert", "root.pem"), ("key", "root-key.pem")
        flags = [word for flag, name in files for word in (f"--{flag}", str(self.folder / "root" / name))]
        command = [sys.executable, "-m", "wfctl", "--address", self.controller.address, *flags, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=self._env())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_agent(self, name: str, token: str, state: str = "") -> subprocess.Popen[bytes]:
        (self.folder / f"{name}.token").write_text(token)
        env = {
            **self._env(),
            "TREADLE_AGENT_NAME": name,
            "TREADLE_AGENT_CONTROLLERS": self.controller.address,
            "TREADLE_AGENT_REDIS": self.redis_url,
            "TREADLE_AGENT_STATE_DIR": str(self.folder / (state or name)),
            "TREADLE_AGENT_TOKEN_FILE": str(self.folder / f"{name}.token"),
            "TREADLE_AGENT_FAREWELL_S": "1",
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            agent = subprocess.Popen([sys.executable, "-m", "treadle_agent"], env=env, stdout=log, stderr=log)
        self.agents.append(agent)
        return agent

    def events(self) -> str:
        return self.wfctl("events", "-o", "json")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            logs = "\n".join(log.read_text() for log in sorted(self.folder.glob("*.log")))
            assert time.monotonic() < deadline, f"{what}\n{logs}"

    def stop(self) -> None:
        for agent in self.agents:
            agent.kill()
            agent.wait()
        self.controller.kill()

    def _env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("WF_", "TREADLE_"))}
        root = Path(__file__).parents[3]
        return {**kept, "PYTHONPATH": os.pathsep.join([str(root / "controller"), str(root / "agent")])}


@pytest.fixture
def site(tmp_path: Path, valkey: TestServer) -> Iterator[Site]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    site = Site(tmp_path, valkey.url)
    site.controller.start()
    yield site
    site.stop()


def test_an_agent_enrols_renews_and_is_revoked(site: Site) -> None:
    token = site.wfctl("agent", "token", "create", "web-1").strip()
    site.start_agent("web-1", token)
    identity = site.folder / "web-1" / "tls" / "identity.pem"
    site.until(lambda: "READY" in site.wfctl("agent", "ls"), "the agent is ready")
    first = identity.read_bytes()

    assert identity.stat().st_mode & 0o777 == 0o600
    assert identity.parent.stat().st_mode & 0o777 == 0o700
    assert x509.load_pem_x509_certificates(first)[0].subject.rfc4514_string() == "CN=web-1"

    # Its first certificate ends, and with it the connection; the agent goes on with the next one.
    site.until(lambda: site.events().count("agent-connected") >= 2, "it has come back with a new certificate")
    assert identity.read_bytes() != first
    assert "agent-renewed" in site.events()

    site.wfctl("agent", "revoke", "web-1")
    site.until(lambda: "READY" not in site.wfctl("agent", "ls"), "it is out")
    site.until(lambda: "was revoked" in site.events(), "what it tried afterwards is in the audit")


def test_a_token_is_good_for_one_agent_of_its_name_once(site: Site) -> None:
    token = site.wfctl("agent", "token", "create", "web-1").strip()
    site.start_agent("web-1", token)
    site.until(lambda: "READY" in site.wfctl("agent", "ls"), "the agent is ready")

    assert site.start_agent("web-2", token).wait(_PATIENCE_S) == 2
    assert "the token is for agent web-1" in (site.folder / "web-2.log").read_text()
    assert site.start_agent("web-1", token, state="elsewhere").wait(_PATIENCE_S) == 2
    assert "this token was used" in (site.folder / "web-1.log").read_text()
    site.until(lambda: "EnrolAgent web-1: token-used" in site.events(), "it is in the audit")
    everything = [file for file in site.folder.rglob("*") if file.is_file() and file.suffix != ".token"]
    assert not [file for file in everything if token.encode() in file.read_bytes()]


def test_an_agent_waits_for_a_controller_that_cannot_sign_yet(site: Site) -> None:
    token = site.wfctl("agent", "token", "create", "web-1").strip()
    site.controller.stop()
    site.controller.signs = False
    site.controller.start()
    agent = site.start_agent("web-1", token)
    log = site.folder / "web-1.log"
    site.until(lambda: "signs no certificates" in log.read_text() or agent.poll() is not None, "it was told why")
    site.controller.stop()
    site.controller.signs = True
    site.controller.start()

    site.until(lambda: "READY" in site.wfctl("agent", "ls"), "the agent is ready")
    assert agent.poll() is None
