"""The test build of the function library: the product's own source, a witness at named seams, and mutations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.chaos.queues.patches import Patch, patched
from treadle.queues import library

_SEAMS = {"commit": "commit", "acknowledge": "commit", "claim": "claim", "purge": "purge"}


def witnessed_library(patches: Sequence[Patch] = ()) -> str:
    """Return the source for FUNCTION LOAD. Raises PatchDoesNotApply when a seam has moved."""
    text = library.source()
    for patch in patches:
        text = patched(text, patch)
    for function, callback in _SEAMS.items():
        seam = f"function_name = 'treadle_{function}', callback = {callback}"
        text = patched(
            text, Patch("lua", seam, seam.replace(f"= {callback}", f"= witnessed('{callback}', {callback})"))
        )
    shebang, rest = text.split("\n", 1)
    witness = Path(__file__).with_name("witness.lua").read_text("utf-8")
    return f"{shebang}\n{witness}\n{rest}"
