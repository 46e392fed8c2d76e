"""The function library `treadle` in Redis: its source, put together from lua/*.lua in the order of their names."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

NAME = "treadle"


@cache
def source() -> str:
    """Return the whole library as FUNCTION LOAD wants it."""
    folder = files("treadle.queues") / "lua"
    parts = sorted((f for f in folder.iterdir() if f.name.endswith(".lua")), key=lambda f: f.name)
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)
