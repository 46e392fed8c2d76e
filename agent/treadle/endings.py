"""Ends tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_S: Final = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until each has ended. What one raises stays with it.

    To cancel once is not enough. Until Python 3.12, `asyncio.wait_for` drops a cancellation that comes together with
    its result (https://github.com/python/cpython/issues/86296), and redis-py writes each command through it.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
