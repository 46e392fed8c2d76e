"""The probe of Redis, beside a real server."""

from __future__ import annotations

import asyncio

from treadle_agent.supervisor.redis_probe import RedisProbe

STOPS = 400
PATIENCE_S = 30


def test_a_probe_can_be_stopped_at_any_moment_of_a_question(redis_url: str) -> None:
    async def stop_after(turns: int) -> None:
        probe = RedisProbe(redis_url, lambda _: None)
        probe.watch("default", "")
        for _ in range(turns):
            await asyncio.sleep(0)
        _, left = await asyncio.wait([asyncio.create_task(probe.stop())], timeout=PATIENCE_S)
        assert not left, f"stopped after {turns} turns of the event loop, the probe goes on"

    async def run() -> None:
        for turns in range(STOPS):
            await stop_after(turns)

    asyncio.run(run())
