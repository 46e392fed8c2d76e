"""How a loop ended."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Final, Literal

from treadle.errors import TreadleError

OutcomeKind = Literal["completed", "drained", "stopped", "failed", "lost"]

_TRACEBACK_LIMIT: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class LoopError:
    """What went wrong, as plain data: it travels to the supervisor and on to the controller."""

    code: str  # of treadle's own errors; "exception" for everything else
    type: str  # name of the exception's class
    message: str
    node: str | None = None  # node id; None: not in a node
    traceback: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How `LoopManager.run` ended.

    `completed`: there will never be more work. `drained`: as asked, everything committed. `stopped`: as asked,
    at once. `failed`: `error` says where and why. `lost`: this instance may not commit any more.
    """

    kind: OutcomeKind
    error: LoopError | None = None


def loop_error(exc: BaseException, *, node: str | None = None, attempts: int = 1) -> LoopError:
    """Describe an exception, the end of its traceback first to be kept."""
    text = "".join(traceback.format_exception(exc))
    return LoopError(
        code=exc.code if isinstance(exc, TreadleError) else "exception",
        type=type(exc).__name__,
        message=str(exc),
        node=node,
        traceback=text if len(text) <= _TRACEBACK_LIMIT else "..." + text[-_TRACEBACK_LIMIT:],
        attempts=attempts,
    )
