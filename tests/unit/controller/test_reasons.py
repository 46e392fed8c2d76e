"""The guide to the API lists every reason that an error may carry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_every_reason_that_clients_may_meet_is_in_the_guide(pytestconfig: pytest.Config) -> None:
    root: Path = pytestconfig.rootpath
    package = root / "controller" / "treadle_controller"
    texts = [path.read_text("utf-8") for name in ("api", "access", "leader") for path in (package / name).glob("*.py")]
    raised = {reason for text in texts for reason in re.findall(r'\breason="([a-z-]+)"', text)}
    guide = (root / "protos" / "README.md").read_text("utf-8")
    errors = guide.partition("\n## Errors\n")[2].partition("\n## ")[0]

    assert len(raised) > 30
    assert raised - set(re.findall(r"`([a-z-]+)`", errors)) == set()
