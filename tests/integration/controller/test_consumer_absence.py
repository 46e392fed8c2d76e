"""Programs outside that went away: what they had waits for them, and not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import msgspec
import pytest
import redis
from grpc import aio

from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.consumer import Consumer
from tests.integration.controller.test_consume import FLOW, apply, push, queue_nodes, reader, state_of
from tests.integration.controller.world import Client, ControllerProcess, document
from tests.servers import TestServer
from treadle.v1 import event_service_pb2, loop_pb2, loop_service_pb2, queue_pb2

RUNNING = loop_pb2.LOOP_STATE_RUNNING

_PATIENCE_S = 40.0


class Forgetful(ControllerProcess):
    """A controller that keeps the slots of those who are away for a moment only."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "TREADLE_CONTROLLER_CONSUMER_EXPIRE_S": "0.5"}


@pytest.fixture
def forgetful(tmp_path: Path, valkey: TestServer) -> Iterator[ControllerProcess]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    process = Forgetful(tmp_path, valkey.url)
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.log(), process.log()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - it waits for another process
            await asyncio.sleep(0.02)


async def consumers(client: Client) -> dict[str, queue_pb2.Consumer]:
    return {one.name: one for one in (await state_of(client, "raw")).consumers}


async def has_told(client: Client, code: str) -> bool:
    listed = await client.events.ListEvents(event_service_pb2.ListEventsRequest(page_size=1000))
    return any(one.code == code and one.name == "raw" for one in listed.events)


async def keep_taking(client: Client, seen: list[int]) -> None:
    """Commit whatever comes, and come back as a client does."""
    while True:
        try:
            async with Consumer(client, "raw", "stays") as one:
                while True:
                    answer = await one.answer()
                    if answer.WhichOneof("message") == "batch":
                        last = answer.batch.first + answer.batch.count - 1
                        await one.send(answer.batch.first, last)
                        seen += [payload["n"] for payload, _ in msgspec.msgpack.decode(answer.batch.items)]
        except aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        except TimeoutError:
            continue  # nothing came for a while


async def leave_with_a_claim(client: Client) -> int:
    """Be a second consumer, who is given messages and never heard of again; returns how many were pushed."""
    pushed = 0
    async with Consumer(client, "raw", "goes", limit=1) as gone:
        given = asyncio.create_task(gone.messages(1))
        while not given.done():
            await push(client, "raw", [{"n": n} for n in range(pushed, pushed + 20)])
            pushed += 20
            await asyncio.wait([given], timeout=0.05)
        await given
    return pushed


async def test_who_is_gone_for_good_gives_its_messages_to_the_others_and_nothing_is_kept(
    forgetful: ControllerProcess, valkey: TestServer
) -> None:
    async with Client(forgetful.address) as client:
        await apply(client, FLOW)
        seen: list[int] = []
        taking = asyncio.create_task(keep_taking(client, seen))
        try:
            await until(lambda: consumers(client))
            pushed = await leave_with_a_claim(client)
            await until(lambda: has_told(client, "consumer-expired"))
            assert set(await consumers(client)) == {"stays"}, "who has a stream is not away, however long it lasts"

            async def drained() -> bool:
                return (await state_of(client, "raw")).depth == 0

            await until(drained)
        finally:
            taking.cancel()
    assert set(seen) == set(range(pushed))
    with redis.Redis.from_url(valkey.url) as server:
        assert int(server.xlen("{default}:q:raw")) <= 1, "all that was committed is trimmed"


async def test_who_is_away_is_told_and_keeps_its_claim(controller: ControllerProcess) -> None:
    flow = document("orders", queue_nodes("raw"), reader("price", "raw", external=True))
    async with Client(controller.address) as client, ScriptedAgent(controller.address, "one"):
        await client.apply(flow)
        await client.until("orders", lambda it: it.state == RUNNING)
        await leave_with_a_claim(client)

        async def is_away() -> bool:
            return (await consumers(client))["goes"].HasField("away_time")

        await until(is_away)
        question = loop_service_pb2.ExplainLoopRequest(workflow="orders", loop="price")

        async def told() -> str:
            verdict = await client.loops.ExplainLoop(question)
            return next((one.fact for one in verdict.evidence if one.subject == "consumer goes"), "")

        await until(told)  # figures of queues are a moment old
        assert "reads raw, and is away for" in await told()
        assert "wfctl queue delete-consumer raw goes" in await told()
        async with Consumer(client, "raw", "goes", limit=1):
            assert not (await consumers(client))["goes"].HasField("away_time")


async def test_an_absence_begins_anew_with_the_controller(controller: ControllerProcess) -> None:
    """Who had a stream when the controller died was not away since it was opened."""
    async with Client(controller.address) as client:
        await apply(client, FLOW)
        async with Consumer(client, "raw", "goes"):
            controller.kill()
    began = time.time()
    controller.start()
    async with Client(controller.address) as client:

        async def away_since() -> float:
            one = (await consumers(client))["goes"]
            return one.away_time.seconds + one.away_time.nanos / 1e9

        await until(away_since)
        assert await away_since() >= began
        left = await away_since()
        controller.kill()
    controller.start()
    async with Client(controller.address) as client:
        assert await away_since() == left, "and goes on with the next one"
