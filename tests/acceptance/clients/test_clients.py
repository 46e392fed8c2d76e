"""Programs in other languages, over TLS, against a controller and an agent that are real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from tests.acceptance.clients import cpp_suite
from tests.acceptance.clients.npm import environment
from tests.acceptance.clients.secured_cluster import ROOT, SecuredCluster
from tests.acceptance.running import wait_until
from tests.pages import blocks
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


PAGE = "protos/README.md"


def block(language: str, number: int = 0) -> str:
    """Return an example of the guide to the API."""
    return blocks(PAGE, language)[number].text


def test_the_guide_calls_by_reflection(secured: SecuredCluster) -> None:
    secured.apply_queues("reflected", ["orders"])
    assert secured.wfctl("queue", "push", "orders", "{}", "{}").code == 0

    done = run(sys.executable, "-c", block("python"), cwd=secured.folder, env=secured.environment())

    assert done.returncode == 0, done.stderr
    *services, depth = done.stdout.splitlines()
    assert "treadle.v1.QueueService" in services
    assert depth == "2"
    assert secured.wfctl("delete", "workflow", "reflected", "--with-queues").code == 0


def test_the_examples_of_the_guide_do_what_it_says(secured: SecuredCluster, node: Path) -> None:
    url = secured.controller.redis_url
    secured.apply_queues("guide", ["orders", "bills"])
    pushed = [
        run(sys.executable, "-c", block("python", 1), cwd=secured.folder, env={"REDIS_URL": url}) for _ in range(2)
    ]
    assert [one.stdout for one in pushed] == ["[b'OK', 1]\n", "[b'DUPLICATE', 1, 1]\n"], pushed[0].stderr

    script = secured.folder / "guide.js"
    script.write_text(block("js"))
    known = environment({**secured.environment(), "NODE_PATH": str(node / "node_modules")})
    with subprocess.Popen(["node", script], env=known) as program, redis.Redis.from_url(url) as queues:
        wait_until(lambda: queues.hget("{default}:q:bills:m", "tail") == b"4", "three bills", 60.0)
        program.kill()
        entries: Any = queues.xrange("{default}:q:bills")
    bills = [payload for payload, _ in msgspec.msgpack.decode(entries[0][1][b"d"])]
    assert bills == [{"order": n, "total": 10} for n in range(3)]
    described = secured.wfctl("describe", "queue", "orders").out
    assert re.search(r"^Consumers: +billing( \(away.*\))?$", described, re.MULTILINE), described
    assert secured.wfctl("queue", "delete-consumer", "orders", "billing").out == "consumer billing of orders is gone\n"
    assert not re.search(r"^Consumers:.*billing", secured.wfctl("describe", "queue", "orders").out, re.MULTILINE)


def test_the_guide_quotes_the_suite_in_cpp() -> None:
    assert block("cpp") in (ROOT / "tests/acceptance/clients/cpp/suite.cc").read_text()


def test_every_page_that_the_guide_links_to_is_there() -> None:
    for page in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / PAGE).read_text()):
        assert (ROOT / "protos" / page).exists(), page
