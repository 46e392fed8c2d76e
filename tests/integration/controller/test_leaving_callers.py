"""A caller who goes while it is being refused: gRPC's own log stays clean, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio

from treadle_controller import errors
from treadle_controller.api.errors import answers, streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UNARY, STREAM = "/test.Refusing/Unary", "/test.Refusing/Stream"


class Refusing:
    """Refuses whoever has called, but only when the caller has gone."""

    def __init__(self) -> None:
        self.asked, self.ended = asyncio.Event(), asyncio.Event()

    async def _refuse(self) -> None:
        self.asked.set()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()  # the caller never answers: gRPC cancels us
            raise errors.NotFound("there is no such thing")
        finally:
            self.ended.set()

    @answers
    async def unary(self, request: bytes, context: Any) -> bytes:
        await self._refuse()
        return b""

    @streams
    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await self._refuse()

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "test.Refusing",
            {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            },
        )


async def go_while_refused(method: str) -> None:
    """Call, go when the server is about to refuse, and see the server end the call."""
    refusing, server = Refusing(), aio.server()
    server.add_generic_rpc_handlers((refusing.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        by: Any = channel.unary_unary(method) if method == UNARY else channel.unary_stream(method)
        call = by(b"")
        async with asyncio.timeout(20):
            await refusing.asked.wait()
            call.cancel()
            await refusing.ended.wait()
    await server.stop(10)


@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_a_caller_who_goes_while_refused_leaves_nothing_in_the_log(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        asyncio.run(go_while_refused(method))
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
