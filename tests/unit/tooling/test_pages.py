"""Every command that a page prints is run by a test, or stands here with the reason why it can't be."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.pages import ROOT, Block, shell

_GUIDES: Final = "tests/integration/deploy/test_three_hosts.py"
_TARGETS: Final = "tests/unit/tooling/test_makefile.py::test_the_commands_of_a_page_are_targets_and_tests"
_INSTALL: Final = "tests/integration/deploy/test_readme.py"
_README: Final = "tests/acceptance/test_readme.py"
_DOCKER: Final = "tests/integration/deploy/test_containers.py"

# Page -> the test that runs all of its blocks, or for each block, by its first command, the test that does.
RUN: Final[dict[str, str | dict[str, str]]] = {
    "CONTRIBUTING.md": _TARGETS,
    "README.md": {
        "make run": f"{_README}::test_the_first_command_runs_the_sample",
        "wfctl validate": f"{_README}::test_the_first_workflow_runs_to_its_end",
        "wfctl apply": f"{_README}::test_the_commands_of_an_operator_work",
    },
    "agent/README.md": "tests/integration/agent/test_readme.py::test_an_agent_is_started_as_the_page_says",
    "controller/README.md": "tests/integration/controller/test_readme.py::test_the_commands_of_the_page_work",
    "controller/reference.md": "tests/acceptance/test_reference.py::test_an_example_of_the_reference_works",
    "deploy/README.md": {
        "treadle-controller redis acl": f"{_INSTALL}::test_redis_gets_the_users_that_the_printed_commands_make",
        "make .venv/.run": _TARGETS,
        "treadle-controller ca init": f"{_INSTALL}::test_a_controller_and_an_agent_run_as_configured_there",
        "treadle-agent --config": f"{_INSTALL}::test_a_controller_and_an_agent_run_as_configured_there",
        "export WF_ADDRESS": f"{_INSTALL}::test_a_controller_and_an_agent_run_as_configured_there",
        "sudo deploy/systemd/install.sh": f"{_INSTALL}::test_the_services_run_on_one_host",
    },
    "deploy/comparison.md": _TARGETS,
    "deploy/guide-operate.md": f"{_GUIDES}::test_the_operators_guide_works_as_it_stands",
    "deploy/guide-three-hosts.md": f"{_GUIDES}::test_the_workflow_runs_on_the_hosts_that_the_guide_has_set_up",
    "deploy/workflows/README.md": "tests/acceptance/test_earthquakes.py::test_what_came_out_is_shown_by_the_commands",
    "tests/README.md": _TARGETS,
}

# What no test can run: there is neither a Docker daemon nor a cluster of Kubernetes where the tests run. What the
# containers would start is run as plain processes, and what the files say is checked (unit/deploy).
NOT_HERE: Final[dict[str, dict[str, str]]] = {
    "deploy/README.md": {
        "deploy/compose/make-secrets.sh": f"Docker and Kubernetes; make-secrets.sh itself is run by {_DOCKER}",
        "docker compose -f deploy/compose/compose.yaml cp": "Docker",
        "docker compose -f deploy/compose/compose.yaml --profile observability": "Docker",
    },
}


def pages() -> list[str]:
    """Return the pages that are kept in git."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return listed.splitlines()


def found(known: str | dict[str, str], block: Block) -> list[str]:
    """Return what is known of a block."""
    if isinstance(known, str):
        return [known]
    return [told for first, told in known.items() if block.first.startswith(first)]


@pytest.mark.parametrize("page", pages())
def test_every_block_of_commands_is_run_or_cannot_be(page: str) -> None:
    for block in shell(page):
        told = found(RUN.get(page, {}), block) + found(NOT_HERE.get(page, {}), block)
        assert len(told) == 1, f"{page}: which test runs the block that begins with {block.first!r}?"


def test_no_row_is_left_of_a_block_that_is_gone() -> None:
    for page, known in (*RUN.items(), *NOT_HERE.items()):
        listed = shell(page)
        assert listed, page
        for first in known if isinstance(known, dict) else ():
            assert any(block.first.startswith(first) for block in listed), (page, first)


def named() -> set[tuple[str, str]]:
    known = [(page, one) for page, row in RUN.items() for one in (row.values() if isinstance(row, dict) else [row])]
    return set(known)


@pytest.mark.parametrize(("page", "test"), sorted(named()))
def test_a_test_that_is_named_exists_and_reads_the_page(page: str, test: str) -> None:
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text("utf-8")
    defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}

    assert name in defined
    assert f'{page}"' in text, f"{file} does not read {page}"


def test_commands_are_not_hidden_where_no_test_looks() -> None:
    """Blocks that are indented instead of fenced, and languages that a shell would be called, too."""
    for page in pages():
        lines = (ROOT / page).read_text("utf-8").splitlines()
        fenced = False
        for number, line in enumerate(lines, 1):
            fenced ^= line.strip().startswith("```")
            command = line.startswith("    ") and line.split()[:1] and line.split()[0] in COMMANDS
            hidden = command and not fenced and Path(page).name != "reference.md"
            assert not hidden, f"{page}:{number}: put commands between fences: {line.strip()}"


COMMANDS: Final = frozenset({"make", "pytest", "wfctl", "treadle-agent", "treadle-controller", "docker", "python", "$"})
