"""ClientService: people and programs that call the controller."""

from __future__ import annotations

from typing import Final

from treadle.v1 import client_service_pb2 as pb
from treadle.v1 import client_service_pb2_grpc as pb_grpc
from treadle.workflow import is_name
from treadle_controller.access.caller import ANY_NAMESPACE, Role
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import answers
from treadle_controller.errors import InvalidRequest
from treadle_controller.leader import wire

_ROLES: Final = {
    pb.ROLE_VIEWER: Role.VIEWER,
    pb.ROLE_OPERATOR: Role.OPERATOR,
    pb.ROLE_ADMIN: Role.ADMIN,
}
_NUMBERS: Final = {role: number for number, role in _ROLES.items()}
_TTL_S: Final = 30 * 86_400.0
_MOST_S: Final = 3650 * 86_400.0


class ClientService(pb_grpc.ClientServiceServicer):
    """See protos/treadle/v1/client_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @answers
    async def GetCaller(self, request: pb.GetCallerRequest, context: Context) -> pb.GetCallerResponse:
        caller = self._api.callers.of(context)
        role = _NUMBERS.get(self._api.callers.role(caller), pb.ROLE_UNSPECIFIED)
        return pb.GetCallerResponse(kind=caller.kind, name=caller.name, role=role)

    @answers
    async def CreateClientToken(
        self, request: pb.CreateClientTokenRequest, context: Context
    ) -> pb.CreateClientTokenResponse:
        _check_name(request.name)
        if request.role not in _ROLES:
            raise InvalidRequest("role is VIEWER, OPERATOR or ADMIN", field="role")
        namespace = request.namespace or self._api.leader.image.namespace
        if namespace != ANY_NAMESPACE and not is_name(namespace):
            raise InvalidRequest(f"{namespace!r} is no name of a namespace", field="namespace")
        ttl_s = wire.seconds(request.ttl) if request.HasField("ttl") else _TTL_S
        if not 0.0 < ttl_s <= _MOST_S:
            raise InvalidRequest("ttl is more than nothing, and ten years at most", field="ttl")
        role = _ROLES[request.role]
        secret, until = await self._api.identities.create_client(request.name, role, namespace, ttl_s)
        message = f"a token as {role} in {namespace}, good for {ttl_s:g} s"
        self._tell(request.name, "client-token-created", message, context)
        answer = pb.CreateClientTokenResponse(token=secret)
        answer.expire_time.FromMicroseconds(int(until * 1e6))
        return answer

    @answers
    async def RevokeClient(self, request: pb.RevokeClientRequest, context: Context) -> pb.RevokeClientResponse:
        async def answer() -> pb.RevokeClientResponse:
            _check_name(request.name)
            await self._api.identities.revoke("client", request.name)
            self._tell(request.name, "client-revoked", "what it was given so far does not count any more", context)
            return pb.RevokeClientResponse()

        return await self._api.once(request, answer, pb.RevokeClientResponse)

    def _tell(self, name: str, code: str, message: str, context: Context) -> None:
        self._api.leader.journal.add("client", name, code, message, actor=self._api.actor(context))


def _check_name(name: str) -> None:
    if not is_name(name):
        message = "a client's name is 1 to 128 letters, digits, '.', '_', '-', and begins with a letter or digit"
        raise InvalidRequest(message, field="name", reason="bad-name")
