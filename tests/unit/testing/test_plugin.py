"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = '''
from treadle import BlockingNode, Params

class Triple(BlockingNode[Params]):
    """Triples n."""

    uses = "test.triple"

    def execute(self, data):
        return {"n": 3 * data["n"], "at": self.context.now()}

DOCUMENT = {
    "nodes": [
        {"id": "in", "type": "queue-reader", "data": {"queue": "in", "external": True}},
        {"id": "triple", "type": "blocking", "data": {"uses": "test.triple"}},
        {"id": "out", "type": "queue", "data": {"queue": "out", "external": True}},
    ],
    "edges": [{"id": "a", "source": "in", "target": "triple"}, {"id": "b", "source": "triple", "target": "out"}],
}

def test_node(treadle_node, treadle_clock):
    treadle_clock.advance(5)
    assert treadle_node(Triple, inputs=[{"n": 1}]).items == [{"n": 3, "at": 1_700_000_005.0}]

def test_workflow(treadle_workflow, treadle_clock):
    harness = treadle_workflow(DOCUMENT, nodes=[Triple])
    assert harness.clock is treadle_clock
    harness.push("in", {"n": 2})
    harness.expect_pushed("out", {"n": 6, "at": 1_700_000_000.0})

def test_loop(treadle_loop):
    harness = treadle_loop(DOCUMENT, loop="in", nodes=[Triple])
    harness.fail("triple", 1)
    harness.push("in", {"n": 2})
    harness.run(2)
    assert harness.messages("out")[0]["n"] == 6
'''


def test_its_fixtures_run_nodes_loops_and_workflows(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "treadle.testing.plugin", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_it_imports_nothing_before_a_test_asks_for_it() -> None:
    code = "import sys, treadle.testing.plugin; print(sorted({'msgspec', 'pydantic', 'uvloop'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
