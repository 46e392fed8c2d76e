"""The last errors of a loop, with what was being worked on: a few, for people."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Final

from treadle.loop.outcome import LoopError, clean

KEPT: Final = 20
INPUT_LIMIT: Final = 1024  # characters

_SHORT: Final = reprlib.Repr()
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 12
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlevel = 4


@dataclass(frozen=True, slots=True)
class Incident:
    """One failed attempt. `error.attempts` says which; `input` is shortened, "" when there was none."""

    time: float  # seconds since the epoch
    error: LoopError
    input: str


def shortened(payload: Any) -> str:
    """Show a payload in at most INPUT_LIMIT characters, whatever it holds."""
    if payload is None:
        return ""
    try:
        text = clean(_SHORT.repr(payload if isinstance(payload, dict) else dict(payload)))
    except BaseException as exc:  # noqa: BLE001 - values of users may raise anything when they are shown
        return f"it can't be shown: {type(exc).__name__}"
    return text if len(text) <= INPUT_LIMIT else text[:INPUT_LIMIT] + "..."
