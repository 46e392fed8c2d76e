"""Every RPC that the server has, asked by everybody, over TLS: the guard stands before each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import grpc
import pytest
import redis
from grpc import aio

from tests.integration.controller.secured import Identity, SecuredController
from tests.servers import TestServer
from treadle_controller.access.caller import Role
from treadle_controller.access.policy import POLICY

REFUSALS: Final = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
# What gRPC's own client makes of a call that was refused while it was still sending the request.
OVERTAKEN: Final = "Internal error from Core"
ALLOWED_S: Final = 2.0  # a stream that has nothing to say yet is not refused


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, valkey: TestServer) -> Iterator[SecuredController]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    process = SecuredController(tmp_path_factory.mktemp("matrix"), valkey.url)
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.log(), process.log()


def identity_of(secured: SecuredController, role: Role) -> Identity | None:
    if role is Role.NOBODY:
        return None
    return secured.agent("web-1") if role is Role.AGENT else secured.client(f"some-{role.value}", role)


async def outcome(channel: aio.Channel, method: str) -> grpc.StatusCode:
    """Return how an empty request ends: OK as soon as anything is answered."""
    asking: Any = channel.stream_stream(method)
    call = asking(iter([b""]), timeout=ALLOWED_S)
    try:
        async for _ in call:
            call.cancel()
            return grpc.StatusCode.OK
    except aio.AioRpcError as exc:
        return exc.code() if exc.details() != OVERTAKEN else await outcome(channel, method)
    return grpc.StatusCode.OK


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_call_what_its_rows_say_and_nothing_else(secured: SecuredController, role: Role) -> None:
    async with secured.caller(identity_of(secured, role)) as client:
        ended = await asyncio.gather(*(outcome(client.channel, method) for method in POLICY))

    wrong = {
        method: code.name
        for (method, rule), code in zip(POLICY.items(), ended, strict=True)
        if (code in REFUSALS) is (role in rule.roles)
    }
    assert not wrong
