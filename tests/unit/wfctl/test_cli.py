from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from treadle.v1 import workflow_service_pb2
from wfctl.cli import DURATION, VERBS, target
from wfctl.errors import BadUsage


def test_help_lists_every_verb_with_what_it_does(wfctl: Any) -> None:
    ran = wfctl("--help")

    assert ran.code == 0
    for name, (_, text) in VERBS.items():
        assert name in ran.out
        assert text.split()[0] in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(wfctl: Any, verb: str) -> None:
    ran = wfctl(verb, "--help")

    assert ran.code == 0
    assert f"wfctl {verb}" in ran.out


@pytest.mark.parametrize("argv", [("--help",), ("version",), ("validate", "--help")])
def test_starting_imports_no_grpc(argv: tuple[str, ...]) -> None:
    code = (
        "import sys; from wfctl.__main__ import run; run(sys.argv[1:]);"
        "sys.exit(any(name in sys.modules for name in ('grpc', 'google.protobuf', 'rich', 'redis', 'sqlalchemy')))"
    )

    assert subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, check=False).returncode == 0


def test_a_misspelt_verb_is_met_with_the_nearest_one(wfctl: Any) -> None:
    ran = wfctl("aply")

    assert ran.code == 2
    assert "'aply' is not known; did you mean 'apply'?" in ran.err


@pytest.mark.parametrize(
    "argv",
    [
        ("get", "boxes"),
        ("get", "workflows", "--nonsense"),
        ("dev", "--for", "soon"),
        ("dev", "--port", "70000"),
        ("apply",),
        ("queue", "shout"),
        ("get", "workflows", "-o", "xml"),
        ("validate",),
        ("validate", "no-such-file.json"),
        ("stop", "a/b/c"),
        ("why", "a/b/c"),
        ("get", "workflows", "--context", "nowhere"),
        ("queue", "push", "orders", "not json"),
        ("queue", "push", "orders", "[1]"),
        ("queue", "push", "orders", "{}", "--producer", "me"),
        ("dev", "--nodes", "./nothing.py"),
        ("dev", "no-such-file.json"),
        ("get", "revisions"),
        ("get", "workflows", "--cert", "x"),
    ],
)
def test_wrong_usage_ends_in_one_sentence_and_exit_code_2(wfctl: Any, argv: tuple[str, ...]) -> None:
    ran = wfctl(*argv)

    assert ran.code == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert ran.err.strip()


def test_global_options_may_stand_before_and_after_the_verb(wfctl: Any, controller: Any) -> None:
    controller.answers["ListWorkflows"] = workflow_service_pb2.ListWorkflowsResponse()

    wfctl("--address", controller.address, "-n", "front", "get", "workflows", "-o", "json")
    ran = wfctl("get", "-n", "behind", "workflows", "--address", controller.address, "-o", "json")

    assert [request.namespace for request in controller.requests] == ["front", "behind"]
    assert json.loads(ran.out) == {"workflows": [], "nextPageToken": ""}


def test_an_option_after_the_verb_wins_over_the_environment(
    wfctl: Any, controller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.answers["ListWorkflows"] = workflow_service_pb2.ListWorkflowsResponse()
    monkeypatch.setenv("WF_ADDRESS", controller.address)
    monkeypatch.setenv("WF_NAMESPACE", "from-environment")

    wfctl("get", "workflows")
    wfctl("get", "workflows", "-n", "from-flag")

    assert [request.namespace for request in controller.requests] == ["from-environment", "from-flag"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(wfctl: Any, shell: str) -> None:
    ran = wfctl("completion", shell)

    assert ran.code == 0
    assert "_WFCTL_COMPLETE" in ran.out


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("5s", 5), ("10m", 600), ("1h", 3600), ("1.5", 1.5)])
def test_durations_are_numbers_or_have_a_unit(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


def test_a_target_is_a_workflow_or_one_of_its_loops() -> None:
    assert target("orders") == ("orders", "")
    assert target("orders/price~tax") == ("orders", "price~tax")
    for wrong in ("", "/x", "orders/", "a/b/c"):
        with pytest.raises(BadUsage):
            target(wrong)
