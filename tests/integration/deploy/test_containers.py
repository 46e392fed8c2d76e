"""The containers' own commands, as plain processes: certificates are made, agents enrol, a workflow runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.running import WORKFLOWS, wait_until
from tests.integration.deploy.containers import Container, Machine
from tests.integration.deploy.test_compose_secrets import free_port
from tests.require import Require
from tests.servers import binary_of

WORKFLOW = str(WORKFLOWS / "host-metrics.json")


@pytest.fixture
def http_port() -> int:
    return free_port()


@pytest.fixture
def machine(pytestconfig: pytest.Config, tmp_path: Path, http_port: int, require: Require) -> Iterator[Machine]:
    """Return a machine on which Valkey runs with the configuration that make-secrets.sh has written."""
    shutil.copy(pytestconfig.rootpath / "deploy" / "compose" / "make-secrets.sh", tmp_path)
    subprocess.run([tmp_path / "make-secrets.sh"], check=True)
    binary = binary_of("valkey")
    require(binary, "valkey-server")
    valkey, grpc = free_port(), free_port()
    names = {
        "valkey:6379": f"127.0.0.1:{valkey}",
        "0.0.0.0:7420": f"127.0.0.1:{grpc}",
        "controller:7420": f"localhost:{grpc}",
        "localhost:7420": f"localhost:{grpc}",
        "0.0.0.0:7421": f"127.0.0.1:{http_port}",
        "127.0.0.1:7421": f"127.0.0.1:{http_port}",
    }
    command = [str(binary), str(tmp_path / "secrets" / "valkey.conf"), "--port", str(valkey), "--dir", str(tmp_path)]
    with (tmp_path / "valkey.log").open("w") as log, subprocess.Popen(command, stdout=log) as server:
        try:
            wait_until(lambda: "Ready to accept" in (tmp_path / "valkey.log").read_text(), "Valkey is ready")
            yield Machine(tmp_path, tmp_path / "secrets", names)
        finally:
            server.kill()


def manifests(folder: Path, name: str) -> dict[str, Any]:
    (found,) = (
        one for one in yaml.safe_load_all((folder / f"{name}.yaml").read_text()) if one["kind"] == "StatefulSet"
    )
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def succeed(machine: Machine, container: Container, *command: str) -> str:
    done = machine.run(container, *command)
    assert done.returncode == 0, f"{container.name} {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def ready(machine: Machine, controller: Container) -> set[str]:
    listed = json.loads(succeed(machine, controller, "wfctl", "agent", "ls", "-o", "json"))
    return {one["name"] for one in listed.get("agents", []) if one["state"] == "AGENT_STATE_READY"}


def waits(machine: Machine, container: Container) -> bool:
    return "waiting for a token" in machine.log(container).read_text()


def certificates(machine: Machine) -> list[bytes]:
    names = ("store/tls/ca-key.pem", "store/tls/cert.pem", "admin/admin.pem", "agent-1/tls/identity.pem")
    return [(machine.folder / "volumes" / name).read_bytes() for name in names]


def use(machine: Machine, controller: Container, agents: dict[str, Container]) -> None:
    """See the agents come, have a workflow run on them, and a stranger refused."""
    wait_until(lambda: ready(machine, controller) == set(agents), "the agents have enrolled and are ready")
    succeed(machine, controller, "wfctl", "apply", "-f", WORKFLOW, "--wait-timeout", "40s")
    loops = json.loads(succeed(machine, controller, "wfctl", "get", "loops", "-o", "json"))["loops"]
    assert {one["agent"] for loop in loops for one in loop["instances"]} <= set(agents)

    stranger = Container(
        "stranger", (), {"WF_ADDRESS": controller.env["WF_ADDRESS"], "WF_INSECURE": "true"}, {}, "/run"
    )
    assert machine.run(stranger, "wfctl", "--timeout", "3s", "stop", "host-metrics").returncode == 1


def test_the_services_of_the_compose_file_enrol_and_run_a_workflow(
    pytestconfig: pytest.Config, machine: Machine
) -> None:
    services = yaml.safe_load((pytestconfig.rootpath / "deploy" / "compose" / "compose.yaml").read_text())["services"]
    of = {name: Container.of_service(name, one) for name, one in services.items() if one["image"] == "treadle"}
    agents = {name: one for name, one in of.items() if name.startswith("agent-")}
    healthy = services["controller"]["healthcheck"]["test"][1:]

    succeed(machine, of["authority"])
    with ExitStack() as stack:
        stack.enter_context(machine.running(of["controller"]))
        wait_until(lambda: machine.run(of["controller"], *healthy).returncode == 0, "the controller is healthy")
        for name in agents:
            succeed(machine, of[name.replace("agent", "token")])
        stack.enter_context(machine.running(agents["agent-2"]))
        with machine.running(agents["agent-1"]):
            use(machine, of["controller"], agents)

        before = certificates(machine)
        for name in ("authority", "token-1"):  # as `docker compose up` does it again
            succeed(machine, of[name])
        assert certificates(machine) == before
        stack.enter_context(machine.running(agents["agent-1"]))
        wait_until(lambda: ready(machine, of["controller"]) == set(agents), "the agent is back as who it was")
    assert machine.log(agents["agent-1"]).read_text().count('"enrolled"') == 1


def test_the_pods_of_the_manifests_enrol_and_run_a_workflow(
    pytestconfig: pytest.Config, machine: Machine, http_port: int
) -> None:
    folder = pytestconfig.rootpath / "deploy" / "kubernetes"
    pod = manifests(folder, "controller")
    first, controller = (Container.of_pod("controller-0", pod[kind][0]) for kind in ("initContainers", "containers"))
    probe = pod["containers"][0]["readinessProbe"]["httpGet"]["path"]

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port}{probe}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    spec = manifests(folder, "agent")
    waiting = {name: Container.of_pod(name, spec["initContainers"][0]) for name in ("agent-0", "agent-1")}
    agents = {name: Container.of_pod(name, spec["containers"][0]) for name in waiting}
    succeed(machine, first)
    with ExitStack() as stack:
        stack.enter_context(machine.running(controller))
        wait_until(is_ready, "the controller is ready")
        for name, agent in agents.items():
            with machine.running(waiting[name]) as process:
                wait_until(partial(waits, machine, waiting[name]), "it waits for its token")
                token = succeed(machine, controller, "wfctl", "agent", "token", "create", name)
                (machine.volume("tokens") / name).write_text(token)
                assert process.wait(30) == 0
            stack.enter_context(machine.running(agent))
        use(machine, controller, agents)
