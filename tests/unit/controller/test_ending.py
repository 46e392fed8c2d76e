"""The leader ends, also when one of its duties misses that it is to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from treadle.endings import end
from treadle_controller.leader import Leader
from treadle_controller.leader.image import Image
from treadle_controller.leader.link import QueueLink


class Deaf:
    """A duty that loses the first times that it is cancelled, as redis-py does now and then."""

    def __init__(self, loses: int) -> None:
        self.lost = 0
        self._loses = loses

    async def run(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.lost == self._loses:
                    raise
                self.lost += 1


@pytest.mark.parametrize("loses", [0, 1, 4])
def test_a_duty_that_loses_its_cancellation_is_cancelled_again(loses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    link = QueueLink(None, term=1, redis_id="r")  # type: ignore[arg-type] # nothing is asked of it
    leader = Leader(None, Image("default"), link, name="c", last_event=0)  # type: ignore[arg-type] # the same

    async def play() -> int:
        deaf = Deaf(loses)
        duties: dict[str, Coroutine[Any, Any, None]] = {"deaf": deaf.run()}
        monkeypatch.setattr(leader, "duties", lambda: duties)
        running = asyncio.create_task(leader.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await end(running)
        return deaf.lost

    assert asyncio.run(play()) == loses


def test_a_duty_that_fails_takes_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    link = QueueLink(None, term=1, redis_id="r")  # type: ignore[arg-type] # nothing is asked of it
    leader = Leader(None, Image("default"), link, name="c", last_event=0)  # type: ignore[arg-type] # the same

    async def fail() -> None:
        raise ValueError("a bug")

    async def play() -> None:
        duties = {"deaf": Deaf(1).run(), "failing": fail()}
        monkeypatch.setattr(leader, "duties", lambda: duties)
        async with asyncio.timeout(30):
            await leader.run()

    with pytest.raises(ExceptionGroup, match="unhandled") as failed:
        asyncio.run(play())
    assert isinstance(failed.value.exceptions[0], ValueError)
