"""Places where a test makes this process die, to show that nothing is lost or doubled when it does.

For tests only. They are compiled in and off by default: `TREADLE_FAILPOINTS="name=kill@N,..."` in the
environment makes the process kill itself with SIGKILL when it passes the named place for the N-th time.

    commit.before-send   a commit is complete and has not left the process
    commit.after-send    a commit is on its way and its answer has not been handled
    commit.after-answer  the answer of a commit has been handled
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "TREADLE_FAILPOINTS"
NAMES = ("commit.before-send", "commit.after-send", "commit.after-answer")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def armed(name: str) -> Callable[[], None] | None:
    """Return what to call at the named place, or None (the usual case: nothing to pay for)."""
    for entry in filter(None, os.environ.get(VARIABLE, "").split(",")):
        given, _, action = entry.strip().partition("=")
        verb, _, nth = action.partition("@")
        if given not in NAMES or verb != "kill" or not nth.isdigit():
            msg = f"{VARIABLE}: {entry!r} is not NAME=kill@N with a name of {', '.join(NAMES)}"
            raise ValueError(msg)
        if given == name:
            return _counter(int(nth))
    return None


def _counter(nth: int) -> Callable[[], None]:
    passed = 0

    def hit() -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            _kill()

    return hit
