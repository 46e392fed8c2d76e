"""Programs in other languages, over TLS, against a controller and an agent that are real."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.clients import cpp_suite
from tests.acceptance.clients.npm import environment
from tests.acceptance.clients.secured_cluster import SecuredCluster
from tests.require import Require


@pytest.mark.parametrize("load", ["files", "reflection"])
def test_a_client_in_javascript_does_all_that_there_is(secured: SecuredCluster, node: Path, load: str) -> None:
    done = run("node", "--test", "--test-reporter=tap", "suite.test.js", cwd=node, env=secured.environment(), load=load)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^# (tests|pass|fail|skipped|todo) (\d+)$", done.stdout, re.MULTILINE))
    assert counts == {"tests": "9", "pass": "9", "fail": "0", "skipped": "0", "todo": "0"}


@pytest.mark.requires("g++", "protoc", "grpc_cpp_plugin")
def test_a_client_in_cpp_does_what_matters_most(secured: SecuredCluster, require: Require) -> None:
    require(Path("/usr/include/grpcpp/grpcpp.h").exists(), "the headers of gRPC for C++ (Debian: libgrpc++-dev)")
    done = run(str(cpp_suite.build()), cwd=secured.folder, env=secured.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    names = ["applies and watches", "pushes once", "consumes", "hears events", "reads errors"]
    assert done.stdout.splitlines() == [f"ok {name}" for name in names]


def run(*command: str, cwd: Path, env: dict[str, str], load: str = "") -> subprocess.CompletedProcess[str]:
    known = environment({**env, "TREADLE_LOAD": load})
    return subprocess.run(command, cwd=cwd, env=known, check=False, capture_output=True, text=True, timeout=90)
