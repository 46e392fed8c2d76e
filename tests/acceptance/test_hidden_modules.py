"""`python -m` in a folder whose files have the names of Python's own modules, and of a user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.running import program

# Modules that all three programs load; not those that Python needs before it runs any of ours.
NAMES = (
    "asyncio",
    "datetime",
    "decimal",
    "logging",
    "numbers",
    "platform",
    "queue",
    "random",
    "secrets",
    "string",
    "uuid",
)


@pytest.mark.parametrize(
    "command",
    [
        ("wfctl", "validate", "flow.json"),
        ("treadle_controller", "--check-config"),
        ("treadle_agent", "--check-config"),
    ],
)
def test_a_file_beside_does_not_hide_a_module_of_python(command: tuple[str, ...], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is hidden')\n")
    flow = '{"name": "w", "nodes": [{"id": "n", "type": "producer", "data": {"uses": "generate"}}], "edges": []}'
    (tmp_path / "flow.json").write_text(flow)

    done = program(tmp_path, *command)

    assert done.code == 0, done.err


def test_a_module_of_node_types_beside_is_still_found(tmp_path: Path) -> None:
    (tmp_path / "my_nodes.py").write_text(
        "from treadle import NodeData, Params, ProducerNode\n\n\n"
        "class Ones(ProducerNode[Params]):\n"
        '    """One after the other."""\n\n'
        '    uses = "my.ones"\n\n'
        "    def execute(self, data: NodeData) -> int:\n"
        "        return 1\n"
    )
    flow = '{"name": "w", "nodes": [{"id": "n", "type": "producer", "data": {"uses": "my.ones"}}], "edges": []}'
    (tmp_path / "flow.json").write_text(flow)

    for nodes in ("my_nodes", "my_nodes.py"):
        done = program(tmp_path, "wfctl", "validate", "--nodes", nodes, "flow.json")
        assert done.code == 0, done.err
