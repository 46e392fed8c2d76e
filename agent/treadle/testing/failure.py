"""What a harness raises when a loop failed."""

from __future__ import annotations

from treadle.errors import TreadleError


class LoopFailedError(TreadleError):
    """A loop under test failed; `details` hold its name and the LoopError with node and traceback."""

    code = "loop-failed"
