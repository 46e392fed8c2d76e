"""Contexts, completion of names, examples and the reference."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from treadle.v1 import loop_service_pb2, workflow_service_pb2
from wfctl import contexts
from wfctl.__main__ import run
from wfctl.cli import front
from wfctl.examples import EXAMPLES
from wfctl.names import ARGUMENTS

ROOT = Path(__file__).resolve().parents[3]


def test_a_context_is_made_used_shown_and_deleted(wfctl: Any, controller: Any, tmp_path: Path) -> None:
    controller.answers["ListWorkflows"] = workflow_service_pb2.ListWorkflowsResponse()
    assert wfctl("context", "set", "test", "--address", controller.address, "-n", "shop").code == 0
    assert wfctl("context", "set", "other", "--address", "127.0.0.1:1").out.startswith(
        "context other is made; use it with"
    )

    wfctl("get", "workflows")

    assert controller.requests[-1].namespace == "shop"
    assert "*" in wfctl("context", "ls").out
    assert wfctl("context", "ls", "-o", "name").out.split() == ["context/other", "context/test"]
    assert "namespace: shop" in wfctl("context", "show").out
    assert wfctl("context", "use", "other").code == 0
    assert wfctl("get", "workflows").code == 1
    assert wfctl("get", "workflows", "--context", "test").code == 0
    assert wfctl("context", "delete", "other").code == 0
    assert wfctl("context", "show").code == 2


def test_only_the_owner_can_read_the_file_and_tokens_are_not_shown(wfctl: Any) -> None:
    assert wfctl("context", "set", "test", "--address", "127.0.0.1:1", "--token", "geheim").code == 0
    path = contexts.default_path()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for argv in (("ls",), ("show",), ("show", "-o", "json"), ("ls", "-o", "yaml")):
        assert "geheim" not in wfctl("context", *argv).out


def test_what_is_given_changes_and_an_empty_value_goes(wfctl: Any) -> None:
    wfctl("context", "set", "test", "--address", "127.0.0.1:1", "-n", "shop")
    wfctl("context", "set", "test", "--address", "127.0.0.1:2", "-n", "")

    assert contexts.load(contexts.default_path()).named == {"test": {"address": "127.0.0.1:2"}}


def test_names_and_values_of_any_kind_survive_the_file(tmp_path: Path) -> None:
    made = contexts.Contexts(tmp_path / "c.toml", "a.b", {"a.b": {"address": 'x"\\é\n', "token": "t"}, "c": {}})
    made.save()

    again = contexts.load(made.path)
    assert (again.current, again.named) == ("a.b", made.named)


def test_a_flag_wins_over_a_named_context_that_over_the_environment_and_that_over_the_current_one(
    wfctl: Any, controller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.answers["ListWorkflows"] = workflow_service_pb2.ListWorkflowsResponse()
    wfctl("context", "set", "current", "--address", controller.address, "-n", "of-current")
    wfctl("context", "set", "named", "--address", controller.address, "-n", "of-named")

    def namespace(*argv: str) -> str:
        assert wfctl("get", "workflows", *argv).code == 0
        found: str = controller.requests[-1].namespace
        return found

    assert namespace() == "of-current"
    monkeypatch.setenv("WF_NAMESPACE", "of-environment")
    assert namespace() == "of-environment"
    assert namespace("--context", "named") == "of-named"
    assert namespace("--context", "named", "-n", "of-flag") == "of-flag"
    monkeypatch.setenv("WF_CONTEXT", "named")
    assert namespace() == "of-environment"


def test_a_context_does_not_take_what_is_only_in_the_environment(wfctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_NAMESPACE", "of-environment")
    wfctl("context", "set", "test", "--address", "127.0.0.1:1")

    assert contexts.load(contexts.default_path()).named == {"test": {"address": "127.0.0.1:1"}}


def complete(*words: str, **env: str) -> list[str]:
    """Return what bash is told for the last word."""
    ran = subprocess.run(
        [sys.executable, "-m", "wfctl"],
        env={
            **os.environ,
            "_WFCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": shlex.join(["wfctl", *words]),
            "COMP_CWORD": str(len(words)),
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]


def test_names_are_completed_from_the_server(controller: Any) -> None:
    workflows, loops = workflow_service_pb2.ListWorkflowsResponse(), loop_service_pb2.ListLoopsResponse()
    workflows.workflows.add(name="numbers")
    loops.loops.add(workflow="numbers", name="count")
    controller.answers |= {"ListWorkflows": workflows, "ListLoops": loops}

    assert complete("stop", "num", WF_ADDRESS=controller.address) == ["numbers", "numbers/count"]
    assert complete("describe", "workflow", "", WF_ADDRESS=controller.address) == ["numbers"]
    assert complete("get", "workflows", "n", WF_ADDRESS=controller.address) == ["numbers"]


def test_without_a_server_verbs_are_completed_and_names_are_not(tmp_path: Path) -> None:
    assert "describe" in complete("des", "", WF_ADDRESS="127.0.0.1:1") or complete("des") == ["describe"]
    assert complete("stop", "", WF_ADDRESS="127.0.0.1:1") == []


def test_whatever_has_names_to_complete_is_a_verb() -> None:
    assert set(ARGUMENTS) <= set(EXAMPLES)


@pytest.mark.parametrize(("verb", "command"), [(verb, one[1]) for verb, all_ in EXAMPLES.items() for one in all_])
def test_every_example_is_read_as_it_stands(verb: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = command.partition("| ")[2] or command
    if command.startswith("eval "):
        command = command.removeprefix('eval "$(').removesuffix(')"')
    words = shlex.split(command)
    words = words[: words.index("<")] if "<" in words else words[: words.index(">")] if ">" in words else words
    assert words[0] == "wfctl"
    leaf: click.Command = front
    for name in verb.split():
        assert isinstance(leaf, click.Group)
        found = leaf.get_command(click.Context(leaf), name)
        assert found is not None
        leaf = found
    called = []
    monkeypatch.setattr(leaf, "callback", lambda **given: called.append(given))

    assert run(words[1:]) == 0
    assert called


def test_the_reference_is_current() -> None:
    ran = subprocess.run([sys.executable, ROOT / ".ci" / "reference.py", "--check"], capture_output=True, check=False)

    assert ran.returncode == 0, ran.stderr.decode()
