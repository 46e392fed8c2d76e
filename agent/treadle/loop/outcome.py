"""How a loop ended."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Final, Literal

from treadle.errors import TreadleError
from treadle.redaction import redacted
from treadle.workflow.plan import OnExhausted

OutcomeKind = Literal["completed", "drained", "stopped", "failed", "lost"]

_TRACEBACK_LIMIT: Final = 16 * 1024
_MESSAGE_LIMIT: Final = 4 * 1024


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
    at once. `failed`: `error` says where and why, `on_exhausted` what its node wants done about it (None: nothing
    in particular, it failed outside of an iteration). `lost`: this instance may not commit any more.
    """

    kind: OutcomeKind
    error: LoopError | None = None
    on_exhausted: OnExhausted | None = None


def loop_error(exc: BaseException, *, node: str | None = None, attempts: int = 1) -> LoopError:
    """Describe an exception, whatever it is; of its traceback the end is kept."""
    message, story = shown(exc), _story(exc)
    return LoopError(
        code=str(exc.code) if isinstance(exc, TreadleError) else "exception",
        type=type(exc).__name__,
        message=message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + "...",
        node=node,
        traceback=story if len(story) <= _TRACEBACK_LIMIT else "..." + story[-_TRACEBACK_LIMIT:],
        attempts=attempts,
    )


def shown(exc: BaseException) -> str:
    """Return the text of an exception; those of users need not have one."""
    try:
        return clean(str(exc))
    except BaseException as second:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"it can't be shown: {type(second).__name__}"


def clean(text: str) -> str:
    """Return text for others: without secrets, and such that any encoder takes it (no lone surrogates)."""
    return redacted(text).encode("utf-8", "replace").decode("utf-8")


def _story(exc: BaseException) -> str:
    try:
        return clean("".join(traceback.format_exception(exc)))
    except BaseException:  # noqa: BLE001 - the same, its causes included
        return "".join(traceback.format_tb(exc.__traceback__))
