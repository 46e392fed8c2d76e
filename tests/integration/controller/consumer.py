"""A consumer as a program outside would be one: a stream, numbers, and nothing of treadle's own code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import msgspec
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from tests.integration.controller.world import Client
from treadle.v1 import queue_service_pb2 as pb


class Consumer:
    """One stream. `opened` is what it was answered first."""

    def __init__(self, client: Client, queue: str, name: str = "billing", *, limit: int = 0, writes: Any = ()) -> None:
        self._call = client.queues.Consume()
        self._open = pb.ConsumeOpen(queue=queue, consumer=name, credits=limit, writes=writes)
        self.opened = pb.ConsumeOpened()
        self.seq = 0

    async def __aenter__(self) -> Self:
        await self._call.write(pb.ConsumeRequest(open=self._open))
        self.opened = (await self.answer()).opened
        self.seq = self.opened.committed
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def answer(self) -> pb.ConsumeResponse:
        async with asyncio.timeout(15):
            answer: pb.ConsumeResponse = await self._call.read()
        if answer == aio.EOF:
            await self._call.code()
            raise EOFError
        return answer

    async def batch(self) -> tuple[int, list[Any]]:
        """Return the number of the next batch's first message, and its payloads."""
        answer = await self.answer()
        assert answer.WhichOneof("message") == "batch", answer
        items = msgspec.msgpack.decode(answer.batch.items)
        assert len(items) == answer.batch.count
        return answer.batch.first, [payload for payload, _ in items]

    async def messages(self, count: int) -> tuple[int, list[Any]]:
        """Return so many messages, which come in any number of batches."""
        begin, found = await self.batch()
        while len(found) < count:
            first, more = await self.batch()
            assert first == begin + len(found)
            found += more
        return begin, found

    async def send(
        self,
        first: int,
        last: int,
        pushes: dict[str, Sequence[Any]] | None = None,
        rejects: Sequence[pb.ConsumeReject] = (),
    ) -> None:
        """Commit the next transaction, and wait for nothing."""
        self.seq += 1
        acks = [pb.NumberRange(first=first, last=last)] if last >= first else []
        listed = [
            pb.ConsumePush(queue=queue, payloads=[msgspec.msgpack.encode(payload) for payload in payloads])
            for queue, payloads in (pushes or {}).items()
        ]
        commit = pb.ConsumeCommit(seq=self.seq, acks=acks, pushes=listed, rejects=rejects)
        await self.say(commit=commit)

    async def say(self, **fields: Any) -> None:
        await self._call.write(pb.ConsumeRequest(**fields))

    async def commit(self, first: int, last: int, pushes: dict[str, Sequence[Any]] | None = None, **more: Any) -> None:
        """Commit and wait until it is done; only for a consumer that waits for no batch."""
        await self.send(first, last, pushes, **more)
        answer = await self.answer()
        while answer.committed.seq < self.seq:
            answer = await self.answer()

    async def say_no_more(self) -> None:
        await self._call.done_writing()

    async def end(self) -> None:
        """Say that nothing more will come, and read to the end of the stream."""
        await self.say_no_more()
        while True:
            try:
                await self.answer()
            except EOFError:
                return


def reason(error: aio.AioRpcError) -> tuple[str, str]:
    """Return the code and the reason of an error, from its details."""
    (trailer,) = (value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin")
    status = status_pb2.Status.FromString(trailer if isinstance(trailer, bytes) else trailer.encode())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "treadle"
    return error.code().name, info.reason
