"""The simulated fences answer as the library in a real server does."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from tests.chaos.cluster.fences import Fences, Hold
from tests.servers import redis_server
from treadle.queues.admin import QueueAdmin
from treadle.queues.tenure import LoopKey

_STEPS = 400


class _Nobody:
    def assigned(self, key: LoopKey, epoch: int) -> None: ...

    def incarnated(self, key: LoopKey, epoch: int, inc: int, run: str) -> None: ...

    def committed(self, key: LoopKey, epoch: int, inc: int, run: str) -> None: ...


class _Real:
    """The same calls, to the functions in the server."""

    def __init__(self, admin: QueueAdmin) -> None:
        self._admin = admin

    async def assign(self, key: LoopKey, epoch: int, term: int, nonce: str) -> object:
        answer = await self._admin.call("assign", term, nonce, str(key), epoch, "life")
        return None if answer[0] == b"DEPOSED" else {key: answer[1]} if answer[1] else {}

    async def incarnate(self, key: LoopKey, epoch: int, inc: int, nonce: str) -> object:
        answer = await self._admin.call("incarnate", str(key), epoch, inc, nonce, "host", 0, 0)
        return answer[1] if answer[0] == b"OK" else None

    async def inc(self, key: LoopKey) -> int:
        found = await self._admin.command("HGET", f"{self._admin.keys.prefix}l:{key}", "inc")
        return int(found or 0)


@pytest.mark.parametrize("seed", range(3))
def test_simulated_fences_answer_as_the_library_does(seed: int) -> None:
    asyncio.run(_play(Random(seed)))


async def _play(chance: Random) -> None:
    fences = Fences(_Nobody())
    with redis_server() as server:
        async with QueueAdmin(server.url, "fences") as admin:
            await admin.load_functions()
            real = _Real(admin)
            for _ in range(_STEPS):
                simulated, answered = await _step(fences, real, chance)
                assert simulated == answered


async def _step(fences: Fences, real: _Real, chance: Random) -> tuple[Any, Any]:
    key = LoopKey("flow", f"l{chance.randrange(2)}", 0)
    hold = fences.holds.setdefault(key, Hold())
    nonce = f"n{chance.randrange(3)}"
    epoch = max(1, hold.epoch + chance.choice((-1, 0, 0, 1)))
    if chance.random() < 0.3:
        term = fences.term + chance.choice((-1, 0, 0, 0, 1))
        simulated = fences.assign([(key, epoch)], term, nonce)
        return simulated, await real.assign(key, epoch, term, nonce)
    inc = max(0, hold.inc + chance.choice((-1, 0, 0)))
    simulated_inc = fences.incarnate(key, epoch, inc, nonce)
    answered = await real.incarnate(key, epoch, inc, nonce)
    assert hold.inc == await real.inc(key)
    return simulated_inc, answered
