"""Connections of redis-py that pack their commands with hiredis: thousands of arguments take an eighth of the time."""

from __future__ import annotations

from functools import cache
from typing import Any

from treadle.queues.wire import pack


@cache
def packing(kind: Any) -> Any:
    """Return such a kind of connection, made from one of redis-py's."""

    class Packing(kind):  # type: ignore[misc]
        def pack_command(self, *args: Any) -> list[bytes]:
            return [pack(*args)]

    return Packing
