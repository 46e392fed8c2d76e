"""Real exports of other products: they parse, and end in clear findings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import treadle.workflow
from treadle.workflow import canonical, check, read_document

EXPORTS = Path(__file__).resolve().parents[4] / "shared" / "reactflow"
NAMES = [
    "chainforge-basic-math.json",
    "chainforge-crontab.json",
    "flowise-branch-merge.json",
    "flowise-iterations.json",
    "flowise-simple-rag.json",
]


def export(name: str) -> bytes:
    path = EXPORTS / name
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is missing")
        pytest.skip(f"the export {name} is not beside the repository")
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_export_is_read_and_refused_with_clear_findings(name: str) -> None:
    result = read_document(export(name))
    checked = check(result.document, name="foreign", node_types={}, offline=True)

    assert result.findings == ()
    assert checked.compiled is None
    codes = {finding.code for finding in checked.findings}
    assert "unknown-type" in codes
    assert codes <= {"unknown-type", "dangling-edge", "decoration", "decoration-edge"}


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_export_is_formatted_without_loss(name: str) -> None:
    document = read_document(export(name)).document
    text = canonical(document)

    assert canonical(json.loads(text)) == text
    graph = document.get("flow", document) if document else {}
    formatted = json.loads(text)
    kept = {node["id"]: node["data"] for node in formatted.get("flow", formatted)["nodes"]}
    assert kept == {node["id"]: node["data"] for node in graph["nodes"]}


def test_dangling_edges_of_an_export_are_named() -> None:
    document = read_document(export("chainforge-basic-math.json")).document
    findings = check(document, name="foreign", node_types={}).findings

    assert any(finding.code == "dangling-edge" and "'eval-1686496332028'" in finding.message for finding in findings)


def test_what_the_package_offers_is_sorted_and_there() -> None:
    assert treadle.workflow.__all__ == sorted(treadle.workflow.__all__)
    assert all(hasattr(treadle.workflow, name) for name in treadle.workflow.__all__)


def test_importing_plans_loads_no_heavy_library() -> None:
    import subprocess

    code = "import sys, treadle.workflow.plan; print(*{'jsonschema', 'pydantic', 'msgspec'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.stdout.strip() == ""
