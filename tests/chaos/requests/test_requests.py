"""Requests that nobody would send: the controller answers each, with a code that says whose fault it is, and goes on.

`make test` sends some thousand; with MINUTES it is 200,000, JSON, protobuf, and messages of streams in any order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import redis
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.chaos.requests.requests import Wrong, calls
from tests.integration.controller.agent_client import ScriptedAgent
from tests.integration.controller.world import Client, ControllerProcess, document, loop, reader
from tests.servers import redis_server

SHORT: Final = 3_000
LONG: Final = 200_000
_AT_ONCE: Final = 48
_ANSWER_S: Final = 60.0  # no call of these takes so long, however busy the machine
_STREAM_S: Final = 0.05  # of a stream that goes on for ever
_DOCUMENT: Final = document("numbers", loop("feed", pushes="out"), reader("read", "out"))
_OURS: Final = ("the controller failed", "Unexpected <class", "Method not found")


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    with redis_server() as server, redis.Redis.from_url(server.url):
        process = ControllerProcess(tmp_path, server.url)
        process.start()
        yield process
        process.kill()


def test_the_controller_answers_everything_and_goes_on(
    controller: ControllerProcess, seed: int, minutes: float
) -> None:
    count = LONG if minutes else SHORT

    answered = asyncio.run(send(controller, seed, count))

    assert sum(answered.values()) == count
    assert controller.process is not None
    assert controller.process.poll() is None, controller.log()[-4_000:]
    assert not [code for code in answered if code.startswith("!")], answered
    assert answered["OK"] > count / 100, answered
    assert answered["INVALID_ARGUMENT"] > count / 50, answered
    log = controller.log()
    assert "could not be handled" not in log
    assert "failed unexpectedly" not in log


async def send(controller: ControllerProcess, seed: int, count: int) -> Counter[str]:
    """Send so many calls, some at a time; returns how many ended with which code, and sees that it is still well."""
    answered: Counter[str] = Counter()
    left = calls(seed, count)

    async def work(channel: aio.Channel) -> None:
        for call in left:
            answered[await one(channel, call)] += 1

    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        ScriptedAgent(controller.address, "a1"),
        Client(controller.address) as client,
        aio.insecure_channel(controller.address, options=options) as channel,
    ):
        await client.apply(_DOCUMENT)
        await asyncio.gather(*(work(channel) for _ in range(_AT_ONCE)))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await client.agents.ListAgents(_nothing(), timeout=_ANSWER_S)
    return answered


async def one(channel: aio.Channel, call: Wrong) -> str:
    """Send one call; returns how it ended, with a `!` before what must not be."""
    first, *more = call.requests or (b"",)
    try:
        if more or _streams(call):
            talk: Any = channel.stream_stream(call.method)
            return await _read(talk(_said(call.requests), timeout=_STREAM_S))
        if call.streams:
            watch: Any = channel.unary_stream(call.method)
            return await _read(watch(first, timeout=_STREAM_S))
        ask: Any = channel.unary_unary(call.method)
        await ask(first, timeout=_ANSWER_S)
    except aio.AioRpcError as exc:
        return judged(call, exc)
    return "OK"


def judged(call: Wrong, exc: aio.AioRpcError) -> str:
    code, said = exc.code(), exc.details() or ""
    late = code is grpc.StatusCode.DEADLINE_EXCEEDED and not call.streams
    ours = code is grpc.StatusCode.UNKNOWN or any(word in said for word in _OURS)
    return f"! {call.method} {code.name}: {said}" if late or ours else code.name


async def _read(stream: Any) -> str:
    try:
        async for _ in stream:
            pass
    except asyncio.CancelledError:
        if not stream.cancelled():
            raise  # it is this test that is cancelled
        return "CANCELLED"  # gRPC's client, when a stream ends that it still writes to
    return "OK"


async def _said(requests: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


def _streams(call: Wrong) -> bool:
    return call.method.rpartition("/")[2] in ("Session", "Consume")


def _nothing() -> Any:
    from treadle.v1 import agent_service_pb2

    return agent_service_pb2.ListAgentsRequest()
