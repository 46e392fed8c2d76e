"""What is told of calls that are traced: one span each, streams too, with the status that they ended with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import pytest
from grpc import aio

from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin
from treadle.telemetry.span import Kind, Span
from treadle_controller import errors
from treadle_controller.api.errors import answers, streams
from treadle_controller.telemetry.calls import CallTracing
from treadle_controller.telemetry.tracer import Tracer

_SERVICE: Final = "treadle.v1.Tested"
_CALLER: Final = Origin(0x1234_0000_0000_0000_0000_0000_0000_5678, 0xABCD)


class Answering:
    """Answers thrice, never ends, refuses, fails, or says what it hears (`echo`, or `written` by itself)."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    @streams
    async def thrice(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number])

    @streams
    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    @answers
    async def written(self, requests: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests:
            await context.write(request)

    @streams
    async def endless(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    @streams
    async def refused(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise errors.NotFound("there is no such thing")

    @streams
    async def broken(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise ValueError("a bug")

    @answers
    async def stuck(self, request: bytes, context: Any) -> bytes:
        self.waiting.set()
        await asyncio.Event().wait()
        return b""

    def handlers(self) -> grpc.GenericRpcHandler:
        streaming: dict[str, Any] = {
            name: grpc.unary_stream_rpc_method_handler(getattr(self, name))
            for name in ("thrice", "endless", "refused", "broken")
        }
        others: dict[str, Any] = {
            "echo": grpc.stream_stream_rpc_method_handler(self.echo),
            "written": grpc.stream_stream_rpc_method_handler(self.written),
            "stuck": grpc.unary_unary_rpc_method_handler(self.stuck),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, streaming | others)


class Told:
    """The spans that were told; `wait` returns the next one."""

    def __init__(self) -> None:
        self._spans: asyncio.Queue[Span] = asyncio.Queue()

    def take(self, span: Span) -> None:
        self._spans.put_nowait(span)

    async def wait(self) -> Span:
        async with asyncio.timeout(20):
            return await self._spans.get()

    @property
    def more(self) -> bool:
        return not self._spans.empty()


def play(calls: Callable[[aio.Channel, Told, Answering], Awaitable[None]], *, ratio: float = 0.0) -> None:
    async def run() -> None:
        told, tested = Told(), Answering()
        server = aio.server(interceptors=[CallTracing(Tracer(ratio, 100, told.take))])
        server.add_generic_rpc_handlers((tested.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await calls(channel, told, tested)
        finally:
            await server.stop(10)
        assert not told.more, "one span for each call"

    asyncio.run(run())


def begin(channel: aio.Channel, name: str, *, traced: bool = True) -> Any:
    by: Any = channel.unary_stream(f"/{_SERVICE}/{name}")
    return by(b"", metadata=((c.TRACEPARENT, _CALLER.traceparent),) if traced else ())


def outcome(span: Span) -> tuple[str, str | None, bool]:
    status = span.attributes[c.RPC_RESPONSE_STATUS_CODE]
    assert isinstance(status, str)
    return span.name.rpartition("/")[2], status, bool(span.error)


def test_a_stream_is_one_span_in_the_trace_of_its_caller() -> None:
    async def calls(channel: aio.Channel, told: Told, _: Answering) -> None:
        assert [answer async for answer in begin(channel, "thrice")] == [b"\0", b"\1", b"\2"]
        span = await told.wait()
        assert (span.trace_id, span.parent_id, span.kind) == (_CALLER.trace_id, _CALLER.span_id, Kind.SERVER)
        assert span.attributes[c.RPC_METHOD] == f"{_SERVICE}/thrice"
        assert outcome(span) == ("thrice", "OK", False)
        assert span.end >= span.start

    play(calls)


@pytest.mark.parametrize("name", ["echo", "written"])
def test_a_stream_both_ways_is_one_span(name: str) -> None:
    async def calls(channel: aio.Channel, told: Told, _: Answering) -> None:
        by: Any = channel.stream_stream(f"/{_SERVICE}/{name}")
        said = by(iter([b"a", b"b"]), metadata=((c.TRACEPARENT, _CALLER.traceparent),))
        assert [answer async for answer in said] == [b"a", b"b"]
        assert outcome(await told.wait()) == (name, "OK", False)

    play(calls)


def test_a_stream_that_is_not_traced_has_no_span() -> None:
    async def calls(channel: aio.Channel, _told: Told, _: Answering) -> None:
        assert len([answer async for answer in begin(channel, "thrice", traced=False)]) == 3

    play(calls)


def test_of_streams_without_a_trace_the_settings_choose() -> None:
    async def calls(channel: aio.Channel, told: Told, _: Answering) -> None:
        assert len([answer async for answer in begin(channel, "thrice", traced=False)]) == 3
        span = await told.wait()
        assert span.parent_id == 0

    play(calls, ratio=1.0)


def test_a_span_says_how_its_stream_ended() -> None:
    async def calls(channel: aio.Channel, told: Told, _: Answering) -> None:
        call = begin(channel, "endless")
        assert await call.read() == b"first"
        call.cancel()
        assert outcome(await told.wait()) == ("endless", "CANCELLED", False)
        for name, status, failed in (("refused", "NOT_FOUND", False), ("broken", "INTERNAL", True)):
            call = begin(channel, name)
            assert await call.read() == b"first"
            assert (await call.code()).name == status
            assert outcome(await told.wait()) == (name, status, failed)

    play(calls)


def test_a_call_whose_caller_has_gone_was_cancelled() -> None:
    async def calls(channel: aio.Channel, told: Told, tested: Answering) -> None:
        by: Any = channel.unary_unary(f"/{_SERVICE}/stuck")
        call = by(b"", metadata=((c.TRACEPARENT, _CALLER.traceparent),))
        async with asyncio.timeout(20):
            await tested.waiting.wait()
        call.cancel()
        assert outcome(await told.wait()) == ("stuck", "CANCELLED", False)

    play(calls)
