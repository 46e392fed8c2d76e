"""The threads of another process: which of them keeps Python from running in the others."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

WINDOW_S: Final = 0.3
_LEAST_TICKS: Final = 2  # of 10 ms in the window: those who wait for the GIL look for it, which costs them something
_WAITS: Final = frozenset({"202", "98"})  # futex, on x86-64 and on ARM


def holder(pid: int, candidates: Collection[int]) -> int:
    """Return the thread that holds the GIL of a process in which nobody else gets it, 0 when that can't be seen.

    Mostly it is the one that computes. If none does, it is the candidate that does not wait for a lock. Blocks for
    a moment.
    """
    before = _ticks(pid)
    time.sleep(WINDOW_S)
    spent = {thread: ticks - before.get(thread, ticks) for thread, ticks in _ticks(pid).items()}
    busiest = max(spent, key=spent.__getitem__, default=0)
    if spent.get(busiest, 0) >= _LEAST_TICKS:
        return busiest
    elsewhere = [thread for thread in candidates if _system_call(pid, thread) not in _WAITS]
    return elsewhere[0] if len(elsewhere) == 1 else 0


def count(pid: int) -> int:
    """Return how many threads a process has."""
    return len(_threads(pid))


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _ticks(pid: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for thread in _threads(pid):
        fields = _read(pid, thread, "stat").rpartition(")")[2].split()
        if len(fields) > 12:
            found[thread] = int(fields[11]) + int(fields[12])  # of its own and of the kernel for it
    return found


def _system_call(pid: int, thread: int) -> str:
    return _read(pid, thread, "syscall").partition(" ")[0]


def _read(pid: int, thread: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/{name}").read_text()
    except OSError:
        return ""  # it ended meanwhile, or may not be looked at
