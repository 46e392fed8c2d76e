"""Limits that the kernel keeps for us. What it can't keep, the supervisor watches."""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Final

_DATA: Final = re.compile(r"^VmData:\s+(\d+) kB$", re.MULTILINE)


def open_files(limit: int | None) -> None:
    """Let this process have at most so many open files, those that it has already included."""
    if limit is not None:
        _lower(resource.RLIMIT_NOFILE, limit)


def memory(limit: int | None) -> None:
    """Let this process take at most so many bytes more than it has now: a node that asks for more gets MemoryError."""
    if limit is None:
        return
    found = _DATA.search(Path("/proc/self/status").read_text())
    if found is not None:
        _lower(resource.RLIMIT_DATA, int(found[1]) * 1024 + limit)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (most, hard))
