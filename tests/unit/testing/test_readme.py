"""The examples of agent/treadle/README.md work as they are printed."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from treadle.testing import WorkflowHarness

README = Path(__file__).resolve().parents[3] / "agent" / "treadle" / "README.md"


def test_the_examples_of_the_readme_run_one_after_the_other() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {"__name__": "readme"}

    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)

    assert len(blocks) == 5
    with ExitStack() as stack:
        scope["test_three_numbers_are_doubled"](  # type: ignore[operator]
            lambda *given, **options: stack.enter_context(WorkflowHarness(*given, **options))
        )
    assert {"Count", "run", "harness"} <= set(scope)
