"""Another build of treadle: the same source with another version and a newer protocol, in a folder of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from tests.chaos.cluster_net.world import ROOT

NEWER: Final = "99.0.0"


def make_newer(folder: Path) -> Path:
    """Copy both daemons and raise what they say of themselves; returns the root of the copy."""
    for part in ("agent", "controller"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    raise_protocol(folder)
    metadata = folder / "agent" / f"treadle-{NEWER}.dist-info" / "METADATA"  # where a program looks its version up
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: treadle\nVersion: {NEWER}\n")
    return folder


def raise_protocol(folder: Path) -> None:
    """Let the copy speak a newer protocol."""
    protocol = folder / "agent" / "treadle" / "protocol.py"
    raised = re.sub(
        r"(?m)^CURRENT: Final = (\d+)$", lambda found: f"CURRENT: Final = {int(found[1]) + 1}", protocol.read_text()
    )
    assert raised != protocol.read_text()
    protocol.write_text(raised)
