"""EnrolmentService: certificates for agents."""

from __future__ import annotations

from treadle.errors import ConfigError
from treadle.join_token import JoinToken
from treadle.v1 import enrolment_service_pb2 as pb
from treadle.v1 import enrolment_service_pb2_grpc as pb_grpc
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers
from treadle_controller.errors import InvalidRequest, Unauthenticated


class EnrolmentService(pb_grpc.EnrolmentServiceServicer):
    """See protos/treadle/v1/enrolment_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @answers
    async def EnrolAgent(self, request: pb.EnrolAgentRequest, context: Context) -> pb.EnrolAgentResponse:
        authority = self._api.authority()
        try:
            token = JoinToken.read(request.token)
        except ConfigError as exc:
            raise InvalidRequest(exc.message, field="token") from exc
        after = self._api.identities.revoked_until("agent", token.name)
        # Signed first: a request that can't be signed uses no token up.
        chain = authority.sign_agent(token.name, request.request_der, self._api.agent_certificate_s, after=after)
        try:
            await self._api.identities.redeem(token.secret, token.name)
        except Unauthenticated as exc:
            self._api.audit.refused(self._api.callers.of(context), f"EnrolAgent {token.name}", exc)
            raise
        self._tell(token.name, "agent-enrolled", "it has a certificate now", context)
        return pb.EnrolAgentResponse(chain_pem=chain)

    @answers
    async def RenewAgent(self, request: pb.RenewAgentRequest, context: Context) -> pb.RenewAgentResponse:
        name = self._api.callers.of(context).name
        chain = self._api.authority().sign_agent(name, request.request_der, self._api.agent_certificate_s)
        self._tell(name, "agent-renewed", "it has a new certificate", context)
        return pb.RenewAgentResponse(chain_pem=chain)

    def _tell(self, name: str, code: str, message: str, context: Context) -> None:
        self._api.leader.journal.add("agent", name, code, message, actor=self._api.actor(context))
