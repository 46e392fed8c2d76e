"""How often Python's cycle collector looks through what loops have in flight."""

from __future__ import annotations

import gc
from typing import Final

# A loop keeps some thousand small tuples until their commit. By default the collector looks through the young ones
# after every 700 of them, finds nothing, and costs a loop that a queue feeds two fifths of its speed.
_THRESHOLDS: Final = (20_000, 20, 100)


def relax() -> None:
    """Let the collector look less often. For processes that run loops, once; forked children inherit it."""
    gc.set_threshold(*_THRESHOLDS)
