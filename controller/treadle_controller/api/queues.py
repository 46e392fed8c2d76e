"""QueueService: queues, for people and for programs in any language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from treadle.errors import QueueError
from treadle.queues.stats import DeadLetterEntry
from treadle.queues.tenure import BadItem
from treadle.v1 import queue_pb2
from treadle.v1 import queue_service_pb2 as pb
from treadle.v1 import queue_service_pb2_grpc as pb_grpc
from treadle.workflow import is_name
from treadle_controller.api import convert, dead_letters, pages, payloads
from treadle_controller.api.consuming import Consuming
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers, streams
from treadle_controller.errors import Conflict, InvalidRequest, NotFound, NotNow
from treadle_controller.store.records import QueueRecord
from treadle_controller.telemetry.calls import sending

_MOST_PEEKED: Final = 1_000
_MOST_PUSHED: Final = 10_000


class QueueService(pb_grpc.QueueServiceServicer):
    """See protos/treadle/v1/queue_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._image = api.leader.image
        self._link = api.leader.link
        self._consuming = Consuming(api.leader)

    async def stop(self) -> None:
        """End the streams of consumers."""
        await self._consuming.stop()

    @answers
    async def GetQueue(self, request: pb.GetQueueRequest, context: Context) -> pb.GetQueueResponse:
        namespace = self._api.namespace(request.namespace)
        records = self._known(request.name)
        self._link.forget_figures()
        stats = (await self._link.figures([request.name])).get(request.name)
        queue = convert.queue(namespace, records[0].queue, records, stats)
        queue.consumers.extend(self._consumers(namespace, request.name))
        return pb.GetQueueResponse(queue=queue)

    @answers
    async def ListQueues(self, request: pb.ListQueuesRequest, context: Context) -> pb.ListQueuesResponse:
        namespace = self._api.namespace(request.namespace)
        if request.workflow:
            self._api.commands.workflow(request.workflow)
        page = pages.read_page(request.page_size, request.page_token, f"queues {namespace} {request.workflow}")
        named: defaultdict[str, list[QueueRecord]] = defaultdict(list)
        for record in self._image.queues.values():
            named[record.queue.name].append(record)
        wanted = [
            name
            for name, records in named.items()
            if not request.workflow or any(one.workflow == request.workflow and one.mentioned for one in records)
        ]
        listed, token = pages.cut(wanted, str, page)
        figures = await self._link.figures(listed)
        queues = [convert.queue(namespace, named[name][0].queue, named[name], figures.get(name)) for name in listed]
        return pb.ListQueuesResponse(queues=queues, next_page_token=token)

    @answers
    async def PeekQueue(self, request: pb.PeekQueueRequest, context: Context) -> pb.PeekQueueResponse:
        namespace = self._api.namespace(request.namespace)
        self._known(request.name)
        if request.limit < 0:
            raise InvalidRequest("limit must not be negative", field="limit")
        self._refuse_unreachable()
        found = await self._link.admin.peek(request.name, min(request.limit or 10, _MOST_PEEKED))
        messages = [_message(namespace, request.name, peeked.number, peeked.item) for peeked in found]
        return pb.PeekQueueResponse(messages=messages)

    @answers
    async def PushQueue(self, request: pb.PushQueueRequest, context: Context) -> pb.PushQueueResponse:
        self._api.namespace(request.namespace)
        self._known(request.name)
        self._judge_push(request)
        self._refuse_unreachable()
        headers = sending(request.name, len(request.payloads), self._api.tracer)
        items = payloads.items(request.payloads, headers)
        first = await self._link.admin.push(request.name, items, request.producer, request.sequence)
        self._link.forget_figures()
        return pb.PushQueueResponse(first=first or 0, duplicate=first is None and bool(items))

    @streams
    async def Consume(
        self, request_iterator: AsyncIterator[pb.ConsumeRequest], context: Context
    ) -> AsyncIterator[pb.ConsumeResponse]:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("message") != "open":
            raise InvalidRequest("a stream of a consumer begins with Open", field="message", reason="no-open")
        self._api.namespace(first.open.namespace)
        self._known(first.open.queue)
        for queue in first.open.writes:
            self._known(queue)
        self._refuse_unreachable()
        async for response in self._consuming.serve(first.open, request_iterator, self._api.actor(context)):
            yield response

    @answers
    async def DeleteConsumer(self, request: pb.DeleteConsumerRequest, context: Context) -> pb.DeleteConsumerResponse:
        self._api.namespace(request.namespace)
        actor = self._api.actor(context)

        async def answer() -> pb.DeleteConsumerResponse:
            self._known(request.queue)
            self._api.leader.consumers.find(request.queue, request.consumer)
            self._refuse_unreachable()
            if not request.validate_only:
                await self._api.leader.consumers.delete(request.queue, request.consumer, actor=actor)
            return pb.DeleteConsumerResponse()

        return await self._api.once(request, answer, pb.DeleteConsumerResponse)

    @answers
    async def PurgeQueue(self, request: pb.PurgeQueueRequest, context: Context) -> pb.PurgeQueueResponse:
        self._api.namespace(request.namespace)
        actor = self._api.actor(context)

        async def answer() -> pb.PurgeQueueResponse:
            self._known(request.name)
            self._refuse_unreachable()
            if request.validate_only:
                stats = (await self._link.admin.depths([request.name]))[request.name]
                return pb.PurgeQueueResponse(dropped=stats.depth - stats.claimed)
            dropped = await self._link.admin.purge(request.name)
            self._link.forget_figures()
            message = f"{dropped} messages were dropped"
            self._api.leader.journal.add("queue", request.name, "queue-purged", message, actor=actor)
            return pb.PurgeQueueResponse(dropped=dropped)

        return await self._api.once(request, answer, pb.PurgeQueueResponse)

    @answers
    async def DeleteQueue(self, request: pb.DeleteQueueRequest, context: Context) -> pb.DeleteQueueResponse:
        self._api.namespace(request.namespace)
        actor = self._api.actor(context)

        async def answer() -> pb.DeleteQueueResponse:
            users = [record.workflow for record in self._known(request.name) if record.mentioned]
            if users:
                message = f"the queue {request.name!r} is named by {', '.join(users)}"
                raise Conflict(message, reason="queue-in-use", kind="queue", name=request.name)
            self._refuse_unreachable()
            if request.validate_only:
                return pb.DeleteQueueResponse()
            await self._api.leader.deletion.drop_queues([request.name])
            self._api.leader.journal.add("queue", request.name, "queue-deleted", "it is gone", actor=actor)
            return pb.DeleteQueueResponse()

        return await self._api.once(request, answer, pb.DeleteQueueResponse)

    @answers
    async def GetQueueServer(self, request: pb.GetQueueServerRequest, context: Context) -> pb.GetQueueServerResponse:
        self._api.namespace(request.namespace)
        return pb.GetQueueServerResponse(server=convert.queue_server(self._link))

    @answers
    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        namespace = self._api.namespace(request.namespace)
        self._known(request.queue)
        page = pages.read_page(request.page_size, request.page_token, f"dead letters {namespace} {request.queue}")
        self._refuse_unreachable()
        found = await self._link.admin.dead_letters(request.queue, page.size + 1, page.last or "-")
        token = pages.next_token(found, lambda letter: letter.id, page)
        listed = [dead_letters.message(namespace, request.queue, letter) for letter in found[: page.size]]
        return pb.ListDeadLettersResponse(dead_letters=listed, next_page_token=token)

    @answers
    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Context) -> pb.GetDeadLetterResponse:
        namespace = self._api.namespace(request.namespace)
        letter = await self._letter(request.queue, request.id)
        return pb.GetDeadLetterResponse(dead_letter=dead_letters.message(namespace, request.queue, letter))

    @answers
    async def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, context: Context
    ) -> pb.ReplayDeadLettersResponse:
        async def answer() -> pb.ReplayDeadLettersResponse:
            return pb.ReplayDeadLettersResponse(replayed=await self._take(request, context))

        return await self._api.once(request, answer, pb.ReplayDeadLettersResponse)

    @answers
    async def DropDeadLetters(self, request: pb.DropDeadLettersRequest, context: Context) -> pb.DropDeadLettersResponse:
        async def answer() -> pb.DropDeadLettersResponse:
            return pb.DropDeadLettersResponse(dropped=await self._take(request, context))

        return await self._api.once(request, answer, pb.DropDeadLettersResponse)

    async def _take(self, request: pb.ReplayDeadLettersRequest | pb.DropDeadLettersRequest, context: Context) -> int:
        """Replay or drop what a request names; returns how many."""
        self._api.namespace(request.namespace)
        dead_letters.judge(request.id, all_of_them=request.all)
        admin = self._link.admin
        if request.all:
            self._known(request.queue)
            self._refuse_unreachable()
        else:
            await self._letter(request.queue, request.id)
        if request.validate_only:
            return (await admin.depths([request.queue]))[request.queue].dead if request.all else 1
        replays = isinstance(request, pb.ReplayDeadLettersRequest)
        count = await (admin.replay if replays else admin.drop_dead)(request.queue, request.id)
        self._link.forget_figures()
        code = "dead-letters-replayed" if replays else "dead-letters-dropped"
        done = "were taken back to their queues" if replays else "were dropped"
        message = f"{count} dead letters {done}" + ("" if request.all else f", those of {request.id}")
        self._api.leader.journal.add("queue", request.queue, code, message, actor=self._api.actor(context))
        return count

    async def _letter(self, queue: str, name: str) -> DeadLetterEntry:
        self._known(queue)
        self._refuse_unreachable()
        letter = await self._link.admin.dead_letter(queue, name) if name else None
        if letter is None:
            message = f"the queue {queue!r} has no dead letter {name!r}"
            raise NotFound(message, reason="dead-letter-not-found", kind="dead letter", name=name)
        return letter

    def _consumers(self, namespace: str, queue: str) -> list[queue_pb2.Consumer]:
        consumers = self._api.leader.consumers
        found = self._image.consumers_of(queue)
        return [convert.consumer(namespace, one, connected=consumers.is_connected(one)) for one in found]

    def _known(self, name: str) -> list[QueueRecord]:
        """Return the dictionary's entries of a queue, the one in use first. Raises NotFound."""
        found = [record for record in self._image.queues.values() if record.queue.name == name]
        if not found:
            raise NotFound(f"there is no queue {name!r}", reason="queue-not-found", kind="queue", name=name)
        return sorted(found, key=lambda record: not record.mentioned)

    def _refuse_unreachable(self) -> None:
        if not self._link.up:
            raise NotNow(f"the queues can't be reached: {self._link.problem}", reason="redis-unreachable")

    def _judge_push(self, request: pb.PushQueueRequest) -> None:
        if len(request.payloads) > _MOST_PUSHED:
            raise InvalidRequest(f"at most {_MOST_PUSHED} messages are pushed at once", field="payloads")
        if request.producer and (not is_name(request.producer) or request.sequence <= 0):
            message = "a producer is a name, and its sequence rises from 1"
            raise InvalidRequest(message, field="producer" if request.sequence > 0 else "sequence")


def _message(namespace: str, queue: str, number: int, item: object) -> queue_pb2.QueueMessage:
    message = queue_pb2.QueueMessage(id=f"{namespace}/{queue}/{number}", number=number)
    if isinstance(item, BadItem):
        message.payload = msgspec.msgpack.encode({"undecodable": item.reason})
    elif isinstance(item, list | tuple):
        message.payload = msgspec.msgpack.encode(item[0])
        message.headers = msgspec.msgpack.encode(item[1] or {})
    else:
        raise QueueError("a queue handed out something that is no message", queue=queue)
    return message
