"""EventService: what happens, as streams."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator
from typing import Final

from treadle.v1 import event_service_pb2 as pb
from treadle.v1 import event_service_pb2_grpc as pb_grpc
from treadle_controller.api import convert, pages
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers, streams
from treadle_controller.cluster.model import LoopRecord
from treadle_controller.errors import InvalidRequest, NotFound
from treadle_controller.leader.logs import LEVELS, Wish
from treadle_controller.store import events
from treadle_controller.store.events import Wanted
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
        wanted = _wanted(request.workflow, request.filter)
        page = pages.read_page(request.page_size, request.page_token, f"events {namespace} {wanted}")
        await self._leader.save_events()
        found = await self._leader.store.read(
            lambda connection: events.list_events(
                connection, namespace, wanted, after=page.last or 0, most=page.size + 1
            )
        )
        token = pages.next_token(found, lambda one: one.sequence, page)
        return pb.ListEventsResponse(events=[convert.event(one) for one in found[: page.size]], next_page_token=token)

    @streams
    async def StreamEvents(
        self, request: pb.StreamEventsRequest, context: Context
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        namespace = self._api.namespace(request.namespace)
        after, wanted = request.after_sequence, _wanted(request.workflow, request.filter)
        while after + 1 < self._leader.journal.oldest_in_memory():
            stored = await self._stored(namespace, wanted, after)
            for one in stored:
                yield pb.StreamEventsResponse(event=convert.event(one))
            after = stored[-1].sequence if stored else self._leader.journal.oldest_in_memory() - 1
        async for one in self._leader.journal.follow(after):
            if wanted.takes(one):
                yield pb.StreamEventsResponse(event=convert.event(one))

    async def _stored(self, namespace: str, wanted: Wanted, after: int) -> list[EventRecord]:
        await self._leader.save_events()
        return await self._leader.store.read(
            lambda connection: events.list_events(connection, namespace, wanted, after=after, most=_CHUNK)
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
        if request.level and request.level.upper() not in LEVELS:
            raise InvalidRequest(f"level is one of {', '.join(LEVELS)}", field="level")
        workflow, loops = self._api.commands.target(request.workflow, request.loop)
        self._look_for(request.node, loops)
        wish = Wish(workflow.name, request.loop, request.node, request.level)
        since = request.since_time if request.HasField("since_time") else None
        with self._leader.logs.read(wish, since) as reader:
            if reader.caught_up:
                yield pb.StreamLogsResponse(caught_up=True)
            while True:
                lines, dropped = await reader.take()
                yield pb.StreamLogsResponse(lines=lines, dropped=dropped, caught_up=reader.caught_up)
                await asyncio.sleep(_GATHER_S)

    def _look_for(self, node: str, loops: list[LoopRecord]) -> None:
        nodes = sorted({step.node for loop in loops for step in loop.plan.steps})
        if node and node not in nodes:
            near = difflib.get_close_matches(node, nodes, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(nodes[:20])}"
            raise NotFound(f"there is no node {node!r}; {hint}", reason="node-not-found", kind="node", name=node)


def _wanted(workflow: str, told: pb.EventFilter) -> Wanted:
    since = told.since_time.seconds + told.since_time.nanos / 1e9 if told.HasField("since_time") else 0.0
    return Wanted(workflow, tuple(told.kinds), told.name, tuple(told.codes), told.actor, since)
