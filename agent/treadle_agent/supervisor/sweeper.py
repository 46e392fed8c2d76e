"""Finds and kills what a dead child left behind: daemons, double forks, whatever user code started.

A descendant of a child is known by its parent (orphans become the supervisor's children), by the marker in the
environment that it was executed with, or by the child's page among its mappings when it was forked without exec.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path

from treadle_agent.page import PREFIX
from treadle_agent.setup import MARKER


def kill_descendants(markers: Collection[str], *, supervisor: int, spare: Collection[int]) -> list[int]:
    """Kill everything that belongs to the children with these markers, and all orphans, and return the pids.

    `spare` are processes that the supervisor started itself. Looks again until nothing is found: what is being
    killed may fork meanwhile.
    """
    killed: list[int] = []
    for _ in range(10):
        found = [pid for pid in _processes() if pid not in spare and _belongs(pid, markers, supervisor)]
        found = [pid for pid in found if _kill(pid)]
        if not found:
            break
        killed += found
    return killed


def kill_orphans(spare: Collection[int]) -> list[int]:
    """Kill what is our child by adoption only, so that nobody else looks after it; returns the pids."""
    found = [pid for pid in children(os.getpid()) if pid not in spare and _parent(pid) == os.getpid()]
    return [pid for pid in found if _kill(pid)]


def reap(spare: Collection[int]) -> None:
    """Collect orphans that have ended, but none of `spare`, whose ends others wait for."""
    for pid in children(os.getpid()):
        if pid not in spare:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _belongs(pid: int, markers: Collection[str], supervisor: int) -> bool:
    return _parent(pid) == supervisor or _has_marker(pid, markers) or _maps_page(pid, markers)


def _processes() -> Iterator[int]:
    own = os.getuid()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _owner(entry) == own:
            yield int(entry.name)


def _owner(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_uid
    except OSError:
        return -1


def children(parent: int) -> list[int]:
    """Return the children of a process's main thread, zombies included."""
    text = _read(parent, f"task/{parent}/children")
    return [int(pid) for pid in text.split()]


def _parent(pid: int) -> int:
    """Return the parent of a process that is no zombie, else 0."""
    after = _read(pid, "stat").rpartition(b")")[2].split()
    return int(after[1]) if len(after) > 1 and after[0] not in (b"Z", b"X") else 0


def _has_marker(pid: int, markers: Collection[str]) -> bool:
    environ = _read(pid, "environ").split(b"\0")
    return any(f"{MARKER}={marker}".encode() in environ for marker in markers)


def _maps_page(pid: int, markers: Collection[str]) -> bool:
    maps = _read(pid, "maps")
    return any(f"/memfd:{PREFIX}{marker} ".encode() in maps for marker in markers)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it ended meanwhile, or is not ours to look at


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True
