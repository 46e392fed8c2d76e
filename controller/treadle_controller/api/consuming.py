"""Consume: the controller holds a reader slot for a program outside, as an agent does for a loop.

Behind each stream is a tenure: batches go out as they come, a commit of the client is one iteration. The number of the
last commit is state of the consumer, stored with the commit itself, so who comes back is told exactly what was done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Final

from treadle.errors import TenureLost, TreadleError
from treadle.queues.codec import decode, encode
from treadle.queues.redis_host import RedisHost
from treadle.queues.tenure import Batch, Tenure, TenureSpec
from treadle.v1 import queue_service_pb2 as pb
from treadle.workflow import is_name
from treadle_controller.api import payloads
from treadle_controller.api.window import MOST_CREDITS, Acknowledged, Window
from treadle_controller.errors import Conflict, InvalidRequest, NotNow, Refused
from treadle_controller.leader import Leader
from treadle_controller.store.records import ConsumerRecord

_CREDITS: Final = 1_000
_MOST_STREAMS: Final = 1_000
_MOST_PUSHED: Final = 10_000  # by one commit, as by one iteration
_NODE: Final = "consumer"  # whose state the number of the last commit is
_SEQ: Final = "seq"


class Consuming:
    """All consumers' streams, and their connections to the queues."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._host: RedisHost | None = None
        self._host_id = ""
        self._starting = asyncio.Lock()
        self._open = 0

    async def serve(
        self, opening: pb.ConsumeOpen, requests: AsyncIterator[pb.ConsumeRequest], actor: str
    ) -> AsyncIterator[pb.ConsumeResponse]:
        """Serve one stream behind its Open. Raises TreadleError when it has to end."""
        self._judge(opening)
        self._open += 1
        try:
            async for response in self._serve(opening, requests, actor):
                yield response
        finally:
            self._open -= 1

    async def stop(self) -> None:
        """End all streams, and the connections."""
        self._leader.consumers.end_all(NotNow("the controller stops", reason="consumer-reset"))
        if self._host is not None:
            await self._host.stop()

    def _judge(self, opening: pb.ConsumeOpen) -> None:
        if not is_name(opening.consumer):
            message = "a consumer's name is 1 to 128 letters, digits, '.', '_', '-', and begins with a letter or digit"
            raise InvalidRequest(message, field="open.consumer", reason="bad-name")
        if not 0 <= opening.credits <= MOST_CREDITS:
            raise InvalidRequest(f"credits are at most {MOST_CREDITS}, 0 for {_CREDITS}", field="open.credits")
        for queue in opening.writes:
            self._leader.consumers.judge(queue)
        if self._open >= _MOST_STREAMS:
            raise NotNow(f"{_MOST_STREAMS} consumers are connected already", reason="too-many-consumers")

    async def _serve(
        self, opening: pb.ConsumeOpen, requests: AsyncIterator[pb.ConsumeRequest], actor: str
    ) -> AsyncIterator[pb.ConsumeResponse]:
        consumers = self._leader.consumers
        stream = ConsumeStream(self._leader.image.namespace, opening)
        host = await self._connected()
        record = await consumers.take(opening.queue, opening.consumer, stream, actor=actor)
        try:
            tenure = await host.open(self._spec(record, opening))
            try:
                stream.begin(tenure)
                reading = asyncio.create_task(stream.read(requests), name=f"consumer {record.name} of {record.queue}")
                try:
                    async for response in stream.responses():
                        yield response
                finally:
                    reading.cancel()
            finally:
                await host.close(tenure)
        except TenureLost as exc:
            raise _ended(exc, record, taken_over=not consumers.holds(record.key, stream)) from exc
        finally:
            consumers.leave(record.key, stream)

    def _spec(self, record: ConsumerRecord, opening: pb.ConsumeOpen) -> TenureSpec:
        known = {one.queue.name: one.queue.limits for one in self._leader.image.queues.values() if one.mentioned}
        return TenureSpec(
            record.key,
            record.epoch,
            reads=(opening.queue,),
            writes={queue: known[queue] for queue in opening.writes},
            stateful=(_NODE,),
            never_ends=(opening.queue,),
        )

    async def _connected(self) -> RedisHost:
        """Return the connections to the queues, made when the first consumer comes. Raises QueueError."""
        link = self._leader.link
        async with self._starting:
            if self._host is None or self._host_id != link.redis_id:
                if self._host is not None:
                    await self._host.stop()
                    self._host = None
                url, namespace = link.admin.url, self._leader.image.namespace
                host = RedisHost(url, namespace, f"controller-{self._leader.name}", expected_id=link.redis_id)
                await host.start()
                self._host, self._host_id = host, link.redis_id
            return self._host


class ConsumeStream:
    """One stream: what its client says is done at once, what it is told is taken from here."""

    def __init__(self, namespace: str, opening: pb.ConsumeOpen) -> None:
        self.epoch = 0
        self._queue = opening.queue
        self._writes = frozenset(opening.writes)
        self._window = Window(namespace, opening.queue, opening.consumer, opening.credits or _CREDITS)
        self._error: TreadleError | None = None
        self._held: Tenure  # from `begin` on
        self._begun = False
        self._seq = 0  # of the last commit that was taken
        self._under_way: deque[int] = deque()  # iterations: numbers of commits, 0 for those that nobody sent
        self._closed = False  # the client has said all that it wants to
        self._room = asyncio.Event()

    def end(self, why: TreadleError) -> None:
        """Stop, and answer with an error."""
        if self._error is None:
            self._error = why
        self._wake()

    def begin(self, tenure: Tenure) -> None:
        """Go on from what is committed."""
        self._held, self._begun = tenure, True
        stored = tenure.state.get(_NODE, {}).get(_SEQ)
        self._seq = int(decode(stored)) if stored is not None else 0

    # What the client says.

    async def read(self, requests: AsyncIterator[pb.ConsumeRequest]) -> None:
        """Take what the client says until it ends or must not go on."""
        try:
            async for request in requests:
                self._take(request)
                await self._wait_for_room()
            self._closed = True
        except TreadleError as exc:
            self.end(exc)
        except Exception as exc:  # noqa: BLE001 - gRPC's own, or a bug: it ends this stream and no other
            self.end(NotNow(f"the stream broke: {type(exc).__name__}", reason="consumer-reset"))
        self._wake()

    async def _wait_for_room(self) -> None:
        """Take no more than the tenure holds: the client is slowed down by the transport then."""
        while self._held.lost is None and self._error is None and not self._held.has_room:
            self._room.clear()
            await self._room.wait()

    def _take(self, request: pb.ConsumeRequest) -> None:
        match request.WhichOneof("message"):
            case "commit":
                self._commit(request.commit)
            case "credit":
                if request.credit.messages <= 0:
                    raise InvalidRequest("credit is given, not taken", field="credit.messages")
                self._window.give(request.credit.messages)
            case _:
                message = "Open comes first, and once; Commits and Credits follow"
                raise InvalidRequest(message, field="message", reason="bad-message")
        self._wake()

    def _commit(self, commit: pb.ConsumeCommit) -> None:
        if commit.seq != self._seq + 1:
            message = f"the commit that comes next is {self._seq + 1}, not {commit.seq}"
            raise InvalidRequest(message, field="commit.seq", reason="bad-sequence")
        pushes = list(self._pushes(commit))
        ranges = [(one.first, one.last) for one in commit.acks]
        rejects = {one.number: (one.error or "rejected", one.message) for one in commit.rejects}
        done = self._window.acknowledge(ranges, rejects)
        self._seq = commit.seq
        self._append(commit.seq, done, pushes)

    def _pushes(self, commit: pb.ConsumeCommit) -> Iterator[tuple[str, bytes]]:
        count = sum(len(push.payloads) for push in commit.pushes)
        if count > _MOST_PUSHED:
            raise InvalidRequest(f"a commit pushes at most {_MOST_PUSHED} messages, not {count}", field="commit.pushes")
        for index, push in enumerate(commit.pushes):
            if push.queue not in self._writes:
                message = f"the queue {push.queue!r} is not among the writes of Open"
                raise InvalidRequest(message, field=f"commit.pushes[{index}].queue", reason="undeclared-queue")
            for item in payloads.items(push.payloads, field=f"commit.pushes[{index}].payloads"):
                yield push.queue, item

    def _append(self, seq: int, done: Acknowledged, pushes: list[tuple[str, bytes]]) -> None:
        state = {(_NODE, _SEQ): encode(seq)} if seq else None
        self._held.append(done.reads, pushes, state, dead=done.dead)
        self._under_way.append(seq)

    # What the client is told.

    async def responses(self) -> AsyncIterator[pb.ConsumeResponse]:
        """Tell what is committed and what is next, for as long as the stream lasts."""
        yield pb.ConsumeResponse(opened=pb.ConsumeOpened(committed=self._seq, epoch=self._held.epoch))
        while True:
            self._room.set()
            done = self._done()
            if done:
                yield pb.ConsumeResponse(committed=pb.ConsumeCommitted(seq=done))
            if self._error is not None:
                raise self._error
            if self._held.lost is not None:
                raise self._held.lost
            if self._closed and not self._under_way:
                return
            batch = self._next()
            for one in self._window.send(batch) if batch is not None else ():
                message = pb.ConsumeBatch(first=one.first, count=one.count, items=one.items)
                yield pb.ConsumeResponse(batch=message)
            self._bury()
            if batch is None:
                await self._held.wait_async(None)

    def _done(self) -> int:
        """Return the last commit that turned out to be done since the question was asked last, 0 for none."""
        last = 0
        for _ in range(len(self._under_way) - self._held.in_flight):
            last = self._under_way.popleft() or last
        return last

    def _next(self) -> Batch | None:
        room = 0 if self._closed else self._window.room
        batch = self._held.poll(self._queue) if room > 0 else None
        if batch is not None and len(batch.items) > room:
            self._held.give_back(Batch(batch.queue, batch.first + room, batch.items[room:]))
            batch = Batch(batch.queue, batch.first, batch.items[:room])
        return batch

    def _bury(self) -> None:
        """Make dead letters of what can't be read, as soon as all before it is done."""
        while (found := self._window.unreadable()) is not None:
            self._append(0, found, [])

    def _wake(self) -> None:
        self._room.set()
        if self._begun:
            self._held.wake()


def _ended(exc: TenureLost, record: ConsumerRecord, *, taken_over: bool) -> TreadleError:
    """Return what the client is told when its tenure is over."""
    reason = str(exc.details.get("reason", ""))
    if reason in {"bad-type", "dlq-full", "refused", "conflict"}:
        return Refused(exc.message, reason=f"consumer-{reason}", kind="queue", name=record.queue)
    if taken_over:
        message = f"another stream of the consumer {record.name!r} has taken over"
        return Conflict(message, reason="consumer-taken-over", kind="consumer", name=record.name)
    return NotNow(f"{exc.message} Open the stream again.", reason="consumer-reset", kind="consumer", name=record.name)
