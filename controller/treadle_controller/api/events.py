"""EventService: what happens, as streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from treadle.v1 import event_service_pb2 as pb
from treadle.v1 import event_service_pb2_grpc as pb_grpc
from treadle_controller.api import convert, pages
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers, streams
from treadle_controller.errors import InvalidRequest
from treadle_controller.store import events
from treadle_controller.store.records import EventRecord

_FIGURES_S: Final = 1.0
_REST: Final = 4.0  # a watcher takes at most a fifth of the time, however large the workflow
_GATHER_S: Final = 0.05  # log lines go out together
_CHUNK: Final = 500


class EventService(pb_grpc.EventServiceServicer):
    """See protos/treadle/v1/event_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._leader = api.leader

    @answers
    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        namespace = self._api.namespace(request.namespace)
        page = pages.read_page(request.page_size, request.page_token, f"events {namespace} {request.workflow}")
        await self._leader.save_events()
        found = await self._leader.store.read(
            lambda connection: events.list_events(
                connection, namespace, request.workflow, after=page.last or 0, most=page.size + 1
            )
        )
        token = pages.next_token(found, lambda one: one.sequence, page)
        return pb.ListEventsResponse(events=[convert.event(one) for one in found[: page.size]], next_page_token=token)

    @streams
    async def StreamEvents(
        self, request: pb.StreamEventsRequest, context: Context
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        namespace = self._api.namespace(request.namespace)
        after = request.after_sequence
        while after + 1 < self._leader.journal.oldest_in_memory():
            stored = await self._stored(namespace, request.workflow, after)
            for one in stored:
                yield pb.StreamEventsResponse(event=convert.event(one))
            after = stored[-1].sequence if stored else self._leader.journal.oldest_in_memory() - 1
        async for one in self._leader.journal.follow(after):
            if not request.workflow or one.workflow == request.workflow:
                yield pb.StreamEventsResponse(event=convert.event(one))

    async def _stored(self, namespace: str, workflow: str, after: int) -> list[EventRecord]:
        await self._leader.save_events()
        return await self._leader.store.read(
            lambda connection: events.list_events(connection, namespace, workflow, after=after, most=_CHUNK)
        )

    @streams
    async def WatchWorkflow(
        self, request: pb.WatchWorkflowRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowResponse]:
        self._api.namespace(request.namespace)
        image = self._leader.image
        with self._leader.watchers.watch(request.name) as watcher:
            while True:
                begun = time.perf_counter()
                workflow = self._api.commands.workflow(request.name)
                yield pb.WatchWorkflowResponse(workflow=convert.workflow(image, workflow))
                await asyncio.sleep(_REST * (time.perf_counter() - begun))
                await watcher.wait(_FIGURES_S)

    @streams
    async def StreamLogs(self, request: pb.StreamLogsRequest, context: Context) -> AsyncIterator[pb.StreamLogsResponse]:
        self._api.namespace(request.namespace)
        if not request.workflow:
            raise InvalidRequest("workflow names no workflow", field="workflow")
        self._api.commands.target(request.workflow, request.loop)
        with self._leader.logs.read(request.workflow, request.loop) as reader:
            while True:
                lines, dropped = await reader.take()
                yield pb.StreamLogsResponse(lines=lines, dropped=dropped)
                await asyncio.sleep(_GATHER_S)
