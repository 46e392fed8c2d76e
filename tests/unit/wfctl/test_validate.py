from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

GOOD = {
    "nodes": [
        {
            "id": "count",
            "type": "producer",
            "data": {"uses": "generate", "with": {"limit": 3}},
            "position": {"x": 0, "y": 0},
        },
        {"id": "out", "type": "blocking", "data": {"uses": "log"}, "position": {"x": 300, "y": 0}},
    ],
    "edges": [{"id": "e", "source": "count", "target": "out"}],
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.json"
    file.write_text(json.dumps(GOOD))
    return file


def bad(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    return file


def test_a_good_document_is_valid(wfctl: Any, good: Path) -> None:
    ran = wfctl("validate", str(good))

    assert (ran.code, ran.out) == (0, "")
    assert "1 valid, 0 warnings" in ran.err


def test_a_finding_is_one_line_with_file_pointer_code_message_and_fix(wfctl: Any, tmp_path: Path) -> None:
    document = json.loads(json.dumps(GOOD))
    document["nodes"][1]["data"]["uses"] = "lgo"
    file = bad(tmp_path, json.dumps(document).encode())

    ran = wfctl("validate", str(file))

    assert ran.code == 3
    assert (
        ran.out
        == f"{file}: /nodes/1/data/uses: unknown-node-type: 'lgo' is not known; did you mean 'log'?; write 'log'\n"
    )


def test_json_output_is_the_bare_list_of_findings(wfctl: Any, tmp_path: Path) -> None:
    file = bad(tmp_path, b"")

    ran = wfctl("validate", str(file), "-o", "json")

    (finding,) = json.loads(ran.out)
    assert ran.code == 3
    assert finding["file"] == str(file)
    assert finding["code"] == "empty-document"
    assert set(finding) == {"file", "code", "severity", "pointer", "element", "message", "fix"}


def test_a_valid_document_has_an_empty_list_of_findings(wfctl: Any, good: Path) -> None:
    assert wfctl("validate", str(good), "-o", "json").out == "[]\n"


def test_all_files_of_a_folder_are_checked_and_all_findings_reported(wfctl: Any, good: Path, tmp_path: Path) -> None:
    bad(tmp_path, b"[]")

    ran = wfctl("validate", str(tmp_path), "-o", "json")

    assert ran.code == 3
    assert {finding["file"] for finding in json.loads(ran.out)} == {str(tmp_path / "bad.json")}


def test_node_modules_given_by_path_are_known(wfctl: Any, tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(
        "from treadle import BlockingNode, Params\n"
        "class Mine(BlockingNode[Params]):\n    uses = 'my.own'\n    def execute(self, data):\n        return data\n"
    )
    document = json.loads(json.dumps(GOOD))
    document["nodes"][1]["data"] = {"uses": "my.own", "with": {"surplus": 1}}
    file = bad(tmp_path, json.dumps(document).encode())

    assert "bad-params" in wfctl("validate", "--nodes", str(module), str(file)).out


def test_a_node_module_that_fails_is_named_and_ends_in_exit_code_1(wfctl: Any, good: Path, tmp_path: Path) -> None:
    module = tmp_path / "broken.py"
    module.write_text("raise RuntimeError('broken on purpose')")

    ran = wfctl("validate", "--nodes", str(module), str(good))

    assert ran.code == 1
    assert "broken on purpose" in ran.err


def test_escapes_in_a_document_do_not_reach_the_terminal(wfctl: Any, tmp_path: Path) -> None:
    document = json.loads(json.dumps(GOOD))
    document["nodes"][0]["id"] = "\x1b[2J"
    document["nodes"][1]["type"] = "\x1b]0;owned\x07"

    ran = wfctl("validate", str(bad(tmp_path, json.dumps(document).encode())))

    assert ran.code == 3
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out


def test_the_canonical_form_is_stable_and_checked(wfctl: Any, good: Path) -> None:
    assert wfctl("fmt", "--check", str(good)).code == 1
    before = good.read_bytes()
    assert wfctl("fmt", str(good)).out == f"{good}\n"
    assert good.read_bytes() != before
    assert wfctl("fmt", "--check", str(good)).code == 0
    assert wfctl("fmt", str(good)).out == ""


def test_fmt_leaves_a_file_alone_that_is_no_document(wfctl: Any, tmp_path: Path) -> None:
    file = bad(tmp_path, b'{"nodes": [')

    ran = wfctl("fmt", str(file))

    assert ran.code == 3
    assert "bad-json" in ran.out
    assert file.read_bytes() == b'{"nodes": ['


def test_standard_input_is_checked_under_the_given_name(wfctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(json.dumps(GOOD).encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert wfctl("validate", "-", "--name", "piped").code == 0
