"""The examples of agent/treadle/README.md work as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[3] / "agent" / "treadle" / "README.md"


def test_the_examples_of_the_readme_run_one_after_the_other() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {"__name__": "readme"}

    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)

    assert len(blocks) == 3
    assert {"Count", "run", "harness"} <= set(scope)
