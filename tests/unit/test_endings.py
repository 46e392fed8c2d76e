"""Tasks that are ended are over."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from treadle import endings
from treadle.endings import end


def test_a_task_that_is_cancelled_has_ended() -> None:
    async def run() -> bool:
        task = asyncio.create_task(asyncio.Event().wait())
        await end(task)
        return task.cancelled()

    assert asyncio.run(run())


def test_a_task_that_loses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "AGAIN_S", 0.0)

    async def forgetful() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def run() -> bool:
        task = asyncio.create_task(forgetful())
        await asyncio.sleep(0)  # until it waits
        await asyncio.wait_for(end(task), 10)
        return task.cancelled()

    assert asyncio.run(run())


def test_one_that_has_ended_keeps_what_it_raised() -> None:
    async def failing() -> None:
        raise ValueError("its own")

    async def run() -> BaseException | None:
        task = asyncio.create_task(failing())
        await asyncio.wait([task])
        await end(task)
        return task.exception()

    assert isinstance(asyncio.run(run()), ValueError)
