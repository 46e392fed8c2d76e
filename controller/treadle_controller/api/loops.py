"""LoopService: loops, and starting and stopping them."""

from __future__ import annotations

from typing import Final

from treadle.v1 import loop_pb2
from treadle.v1 import loop_service_pb2 as pb
from treadle.v1 import loop_service_pb2_grpc as pb_grpc
from treadle_controller.api import convert, pages
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers
from treadle_controller.api.explain import explain
from treadle_controller.cluster.model import Desired, LoopRecord
from treadle_controller.errors import InvalidRequest, NotFound
from treadle_controller.leader.image import WorkflowImage

_MOST_REPLICAS: Final = 1_000
_Change = pb.StartLoopsRequest | pb.StopLoopsRequest | pb.PauseLoopsRequest | pb.ResumeLoopsRequest


class LoopService(pb_grpc.LoopServiceServicer):
    """See protos/treadle/v1/loop_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._image = api.leader.image

    @answers
    async def GetLoop(self, request: pb.GetLoopRequest, context: Context) -> pb.GetLoopResponse:
        self._api.namespace(request.namespace)
        workflow, loop = self._one(request.workflow, request.loop)
        return pb.GetLoopResponse(loop=convert.loop(self._image, workflow, loop))

    @answers
    async def ListLoops(self, request: pb.ListLoopsRequest, context: Context) -> pb.ListLoopsResponse:
        namespace = self._api.namespace(request.namespace)
        if request.workflow:
            found = [self._api.commands.workflow(request.workflow)]
        else:
            found = list(self._image.workflows.values())
        page = pages.read_page(request.page_size, request.page_token, f"loops {namespace} {request.workflow}")
        loops = [(workflow, loop) for workflow in found for loop in workflow.loops.values()]
        listed, token = pages.cut(loops, lambda pair: (pair[0].name, pair[1].name), page)
        messages = [convert.loop(self._image, workflow, loop) for workflow, loop in listed]
        return pb.ListLoopsResponse(loops=messages, next_page_token=token)

    @answers
    async def StartLoops(self, request: pb.StartLoopsRequest, context: Context) -> pb.StartLoopsResponse:
        async def answer() -> pb.StartLoopsResponse:
            return pb.StartLoopsResponse(loops=await self._desire(request, Desired.RUNNING, context))

        return await self._api.once(request, answer, pb.StartLoopsResponse)

    @answers
    async def StopLoops(self, request: pb.StopLoopsRequest, context: Context) -> pb.StopLoopsResponse:
        async def answer() -> pb.StopLoopsResponse:
            return pb.StopLoopsResponse(loops=await self._desire(request, Desired.STOPPED, context))

        return await self._api.once(request, answer, pb.StopLoopsResponse)

    @answers
    async def PauseLoops(self, request: pb.PauseLoopsRequest, context: Context) -> pb.PauseLoopsResponse:
        async def answer() -> pb.PauseLoopsResponse:
            return pb.PauseLoopsResponse(loops=await self._desire(request, Desired.PAUSED, context))

        return await self._api.once(request, answer, pb.PauseLoopsResponse)

    @answers
    async def ResumeLoops(self, request: pb.ResumeLoopsRequest, context: Context) -> pb.ResumeLoopsResponse:
        async def answer() -> pb.ResumeLoopsResponse:
            return pb.ResumeLoopsResponse(loops=await self._desire(request, Desired.RUNNING, context))

        return await self._api.once(request, answer, pb.ResumeLoopsResponse)

    @answers
    async def RestartLoops(self, request: pb.RestartLoopsRequest, context: Context) -> pb.RestartLoopsResponse:
        async def answer() -> pb.RestartLoopsResponse:
            target = self._target(request.target)
            workflow, loops = await self._api.commands.restart(
                target.workflow,
                target.loop,
                fresh=request.fresh,
                actor=self._api.actor(context),
                dry=request.validate_only,
            )
            return pb.RestartLoopsResponse(loops=[convert.loop(self._image, workflow, loop) for loop in loops])

        return await self._api.once(request, answer, pb.RestartLoopsResponse)

    @answers
    async def ScaleLoop(self, request: pb.ScaleLoopRequest, context: Context) -> pb.ScaleLoopResponse:
        self._api.namespace(request.namespace)
        if not 1 <= request.replicas <= _MOST_REPLICAS:
            raise InvalidRequest(f"replicas is a number from 1 to {_MOST_REPLICAS}", field="replicas")
        self._one(request.workflow, request.loop)

        async def answer() -> pb.ScaleLoopResponse:
            actor = self._api.actor(context)
            workflow, loops = await self._api.commands.scale(
                request.workflow, request.loop, request.replicas, actor=actor, dry=request.validate_only
            )
            return pb.ScaleLoopResponse(loops=[convert.loop(self._image, workflow, loop) for loop in loops])

        return await self._api.once(request, answer, pb.ScaleLoopResponse)

    @answers
    async def ExplainLoop(self, request: pb.ExplainLoopRequest, context: Context) -> pb.ExplainLoopResponse:
        self._api.namespace(request.namespace)
        if request.loop:
            workflow, loop = self._one(request.workflow, request.loop)
            return await explain(self._api.leader, workflow, loop)
        return await explain(self._api.leader, self._api.commands.workflow(request.workflow), None)

    async def _desire(self, request: _Change, desired: Desired, context: Context) -> list[loop_pb2.Loop]:
        target = self._target(request.target)
        actor = self._api.actor(context)
        workflow, loops = await self._api.commands.desire(
            target.workflow, target.loop, desired, actor=actor, dry=request.validate_only
        )
        return [convert.loop(self._image, workflow, loop) for loop in loops]

    def _target(self, target: pb.LoopTarget) -> pb.LoopTarget:
        self._api.namespace(target.namespace)
        if not target.workflow:
            raise InvalidRequest("target.workflow names no workflow", field="target.workflow")
        return target

    def _one(self, name: str, loop: str) -> tuple[WorkflowImage, LoopRecord]:
        workflow = self._api.commands.workflow(name)
        found = workflow.loops.get(loop)
        if found is None:
            full = f"{name}/{loop}"
            raise NotFound(f"there is no loop {full!r}", reason="loop-not-found", kind="loop", name=full)
        return workflow, found
