from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from treadle_agent.config import AgentConfig

SECRET = "treadle"
KEYS = {"valkey.conf", "controller.toml", "agent.toml"}


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy" / "kubernetes"


@pytest.fixture(scope="module")
def files(folder: Path) -> list[Path]:
    """The manifests that kustomization.yaml lists."""
    return [folder / name for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]]


@pytest.fixture(scope="module")
def objects(files: list[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    found = [each for file in files for each in yaml.safe_load_all(file.read_text())]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture(scope="module")
def workloads(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: each["spec"] for (kind, name), each in objects.items() if kind in ("Deployment", "StatefulSet")}


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["template"]["spec"]
    return spec


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(workload)["containers"]
    found: dict[str, Any] = only
    return found


def secrets(workload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (volume["secret"] for volume in pod(workload)["volumes"] if "secret" in volume)


def test_every_manifest_keeps_to_the_schema_of_its_kind(files: list[Path]) -> None:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", *map(str, files)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_manifest_is_forgotten(files: list[Path], folder: Path) -> None:
    assert {file.name for file in folder.glob("*.yaml")} == {file.name for file in files} | {"kustomization.yaml"}


def test_every_pod_is_restricted(workloads: dict[str, dict[str, Any]]) -> None:
    for workload in workloads.values():
        assert pod(workload)["securityContext"]["runAsNonRoot"]
        assert pod(workload)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod(workload)["automountServiceAccountToken"]
        for each in (*pod(workload).get("initContainers", []), container(workload)):
            context = each["securityContext"]
            assert not context["allowPrivilegeEscalation"]
            assert context["readOnlyRootFilesystem"]
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_selectors_find_the_pods_that_they_are_for(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    pods = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for (kind, name), each in objects.items()
        if kind in ("Deployment", "StatefulSet")
    }
    for (kind, name), each in objects.items():
        spec = each.get("spec", {})
        selector = spec.get("selector", spec.get("podSelector"))
        if kind == "Namespace" or not selector:
            continue
        wanted = selector.get("matchLabels", selector)
        assert [pod for pod, labels in pods.items() if wanted.items() <= labels.items()] == [name], (kind, name)


def test_ports_have_the_names_that_services_probes_and_policies_use(
    objects: dict[tuple[str, str], dict[str, Any]], workloads: dict[str, dict[str, Any]]
) -> None:
    named = {name: {port["name"] for port in container(each).get("ports", [])} for name, each in workloads.items()}

    for (kind, name), each in objects.items():
        if kind == "Service":
            assert {port["targetPort"] for port in each["spec"].get("ports", [])} <= named[name]
        if kind == "NetworkPolicy":
            rules = each["spec"].get("ingress", [])
            assert {port["port"] for rule in rules for port in rule["ports"]} <= named.get(name, set())
    for name, each in workloads.items():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            how = container(each).get(probe, {})
            assert {how[kind]["port"] for kind in ("httpGet", "tcpSocket") if kind in how} <= named[name]


def test_the_controller_is_probed_where_it_answers(
    pytestconfig: pytest.Config, workloads: dict[str, dict[str, Any]]
) -> None:
    app = (pytestconfig.rootpath / "controller" / "treadle_controller" / "http" / "app.py").read_text()
    controller = container(workloads["controller"])

    paths = {kind: controller[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert set(paths.values()) <= set(re.findall(r'Route\("([^"]+)"', app))


def test_secrets_are_referred_to_and_never_written_down(
    files: list[Path], workloads: dict[str, dict[str, Any]]
) -> None:
    needed = {
        item["key"]
        for workload in workloads.values()
        for secret in secrets(workload)
        if secret["secretName"] == SECRET
        for item in secret["items"]
    }

    assert needed == KEYS
    assert not any(re.search(r"password|^kind: Secret", file.read_text(), re.MULTILINE) for file in files)
    others = [secret["secretName"] for each in workloads.values() for secret in secrets(each)]
    assert set(others) == {SECRET, "treadle-agent-tokens"}


def test_every_mount_has_its_volume(workloads: dict[str, dict[str, Any]]) -> None:
    for name, workload in workloads.items():
        claims = {claim["metadata"]["name"] for claim in workload.get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in pod(workload)["volumes"]}
        users = [*pod(workload).get("initContainers", []), container(workload)]
        assert {mount["name"] for user in users for mount in user["volumeMounts"]} == claims | volumes, name


def test_an_agent_has_the_time_to_drain(workloads: dict[str, dict[str, Any]]) -> None:
    stop_deadline_s = AgentConfig.model_fields["stop_deadline_s"].default

    assert pod(workloads["agent"])["terminationGracePeriodSeconds"] >= stop_deadline_s + 10


def test_nothing_is_said_in_plain_text_and_the_agent_does_not_see_the_tokens_of_others(
    files: list[Path], workloads: dict[str, dict[str, Any]]
) -> None:
    assert not any("insecure" in file.read_text().lower() for file in files)
    assert "tokens" not in {mount["name"] for mount in container(workloads["agent"])["volumeMounts"]}
