"""AgentService and NodeTypeService: hosts, and what they offer."""

from __future__ import annotations

from typing import Final

from treadle.join_token import JoinToken
from treadle.v1 import agent_pb2, node_type_pb2
from treadle.v1 import agent_service_pb2 as pb
from treadle.v1 import agent_service_pb2_grpc as pb_grpc
from treadle.v1 import node_type_service_pb2 as types_pb
from treadle.v1 import node_type_service_pb2_grpc as types_grpc
from treadle.workflow import is_name
from treadle_controller.api import convert, pages
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.errors import InvalidRequest, NotFound
from treadle_controller.leader import node_types, wire
from treadle_controller.leader.commands import DRAIN_S

_LONGEST_DRAIN_S: Final = 365 * 86_400.0


class AgentService(pb_grpc.AgentServiceServicer):
    """See protos/treadle/v1/agent_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._image = api.leader.image

    @answers
    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        return pb.GetAgentResponse(agent=self._agent(request.name))

    @answers
    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:
        page = pages.read_page(request.page_size, request.page_token, "agents")
        names, token = pages.cut(self._image.agents, str, page)
        return pb.ListAgentsResponse(agents=[self._agent(name) for name in names], next_page_token=token)

    @answers
    async def CordonAgent(self, request: pb.CordonAgentRequest, context: Context) -> pb.CordonAgentResponse:
        async def answer() -> pb.CordonAgentResponse:
            await self._api.commands.cordon(request.name, cordoned=True, actor=self._api.actor(context))
            return pb.CordonAgentResponse(agent=self._agent(request.name))

        return await self._api.once(request, answer, pb.CordonAgentResponse)

    @answers
    async def UncordonAgent(self, request: pb.UncordonAgentRequest, context: Context) -> pb.UncordonAgentResponse:
        async def answer() -> pb.UncordonAgentResponse:
            await self._api.commands.cordon(request.name, cordoned=False, actor=self._api.actor(context))
            return pb.UncordonAgentResponse(agent=self._agent(request.name))

        return await self._api.once(request, answer, pb.UncordonAgentResponse)

    @answers
    async def DrainAgent(self, request: pb.DrainAgentRequest, context: Context) -> pb.DrainAgentResponse:
        async def answer() -> pb.DrainAgentResponse:
            limit_s = wire.seconds(request.deadline) if request.HasField("deadline") else DRAIN_S
            if not 0.0 <= limit_s <= _LONGEST_DRAIN_S:
                raise InvalidRequest("deadline must not be negative, and a year at most", field="deadline")
            await self._api.commands.drain(request.name, actor=self._api.actor(context), deadline_s=limit_s)
            return pb.DrainAgentResponse(agent=self._agent(request.name))

        return await self._api.once(request, answer, pb.DrainAgentResponse)

    @answers
    async def CreateAgentToken(
        self, request: pb.CreateAgentTokenRequest, context: Context
    ) -> pb.CreateAgentTokenResponse:
        if not is_name(request.name):
            message = "an agent's name is 1 to 128 letters, digits, '.', '_', '-', and begins with a letter or digit"
            raise InvalidRequest(message, field="name", reason="bad-name")
        authority = self._api.authority()
        secret, until = await self._api.identities.create_join(request.name)
        token = JoinToken(request.name, authority.digest, secret)
        self._tell(request.name, "agent-token-created", "with it an agent of this name enrols, once", context)
        answer = pb.CreateAgentTokenResponse(token=str(token))
        answer.expire_time.FromMicroseconds(int(until * 1e6))
        return answer

    @answers
    async def RevokeAgent(self, request: pb.RevokeAgentRequest, context: Context) -> pb.RevokeAgentResponse:
        async def answer() -> pb.RevokeAgentResponse:
            if not is_name(request.name):
                raise InvalidRequest(f"{request.name!r} is no name of an agent", field="name", reason="bad-name")
            await self._api.identities.revoke("agent", request.name)
            self._tell(request.name, "agent-revoked", "what it was given so far does not count any more", context)
            return pb.RevokeAgentResponse()

        return await self._api.once(request, answer, pb.RevokeAgentResponse)

    def _tell(self, name: str, code: str, message: str, context: Context) -> None:
        self._api.leader.journal.add("agent", name, code, message, actor=self._api.actor(context))

    def _agent(self, name: str) -> agent_pb2.Agent:
        self._api.commands.agent(name)
        heartbeat = self._api.leader.roster.heartbeats.get(name)
        return convert.agent(self._image, self._image.agents[name], self._image.fleet.agents[name], heartbeat)


class NodeTypeService(types_grpc.NodeTypeServiceServicer):
    """See protos/treadle/v1/node_type_service.proto."""

    def __init__(self, api: Api) -> None:
        self._image = api.leader.image

    @answers
    async def GetNodeType(self, request: types_pb.GetNodeTypeRequest, context: Context) -> types_pb.GetNodeTypeResponse:
        if request.uses not in self._image.node_types:
            message = f"no agent ever offered {request.uses!r}"
            raise NotFound(message, reason="unknown-node-type", kind="node type", name=request.uses)
        return types_pb.GetNodeTypeResponse(node_type=self._node_type(request.uses))

    @answers
    async def ListNodeTypes(
        self, request: types_pb.ListNodeTypesRequest, context: Context
    ) -> types_pb.ListNodeTypesResponse:
        page = pages.read_page(request.page_size, request.page_token, "node types")
        names, token = pages.cut(self._image.node_types, str, page)
        listed = [self._node_type(name) for name in names]
        return types_pb.ListNodeTypesResponse(node_types=listed, next_page_token=token)

    def _node_type(self, uses: str) -> node_type_pb2.NodeType:
        ready = [one for one in self._image.fleet.agents.values() if one.liveness is Liveness.READY]
        agents = sorted(agent.name for agent in ready if uses in agent.uses)
        return node_types.to_wire(self._image.node_types[uses], agents)
