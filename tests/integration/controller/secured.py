"""A controller behind TLS, and everybody who may or may not call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

import grpc
from cryptography.hazmat.primitives import serialization
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from tests.integration.controller.world import ControllerProcess
from treadle.v1 import (
    agent_service_pb2_grpc,
    client_service_pb2_grpc,
    dispatcher_service_pb2_grpc,
    enrolment_service_pb2_grpc,
    event_service_pb2_grpc,
    workflow_service_pb2_grpc,
)
from treadle_controller.access.authority import Authority, key_pem, new_key
from treadle_controller.access.caller import Role
from treadle_controller.ca_tool import main as ca_tool

DAY_S: Final = 86_400.0


class SecuredController(ControllerProcess):
    """The daemon with the files of `treadle-controller ca init`."""

    def __init__(self, folder: Path, redis_url: str, **settings: str) -> None:
        super().__init__(folder, redis_url)
        self.tls = folder / "tls"
        assert ca_tool(["ca", "init", "--dir", str(self.tls), "--host", "127.0.0.1"]) == 0
        self.signs = True  # whether it gets the authority's key
        self._settings = settings

    @property
    def authority(self) -> Authority:
        return Authority.load(self.tls / "ca.pem", self.tls / "ca-key.pem")

    def environment(self) -> dict[str, str]:
        files = {"CERT": "cert.pem", "KEY": "key.pem", "CLIENT_CA": "ca.pem"}
        if self.signs:
            files["CA_KEY"] = "ca-key.pem"
        tls = {f"TREADLE_CONTROLLER_TLS_{key}": str(self.tls / name) for key, name in files.items()}
        return {**super().environment(), **tls, **self._settings}

    def client(self, name: str, role: Role, namespace: str = "default", days: float = 1.0) -> Identity:
        key = new_key()
        chain = self.authority.sign_client(name, key.public_key(), {namespace: role}, days * DAY_S)
        return Identity(key_pem(key), chain)

    def agent(self, name: str) -> Identity:
        return agent_of(self.authority, name)

    def caller(self, identity: Identity | None = None, *, token: str = "") -> SecureClient:
        return SecureClient(self.address, (self.tls / "ca.pem").read_bytes(), identity, token)


class Identity:
    """A key and its certificate (PEM)."""

    def __init__(self, key: bytes, chain: bytes) -> None:
        self.key = key
        self.chain = chain

    def credentials(self, ca: bytes) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(ca, self.key, self.chain)


def agent_of(authority: Authority, name: str, lifetime_s: float = DAY_S) -> Identity:
    key, request = request_for(name)
    return Identity(key, authority.sign_agent(name, request, lifetime_s))


def request_for(name: str) -> tuple[bytes, bytes]:
    """Return a new key (PEM) and a request to sign it (DER)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = new_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key_pem(key), request.public_bytes(serialization.Encoding.DER)


class SecureClient:
    """The services over one channel with somebody's certificate or token."""

    def __init__(self, address: str, ca: bytes, identity: Identity | None, token: str = "") -> None:
        credentials = grpc.ssl_channel_credentials(ca) if identity is None else identity.credentials(ca)
        if token:
            credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = aio.secure_channel(address, credentials, options)
        self.workflows: Any = workflow_service_pb2_grpc.WorkflowServiceStub(self.channel)
        self.agents: Any = agent_service_pb2_grpc.AgentServiceStub(self.channel)
        self.clients: Any = client_service_pb2_grpc.ClientServiceStub(self.channel)
        self.events: Any = event_service_pb2_grpc.EventServiceStub(self.channel)
        self.enrolment: Any = enrolment_service_pb2_grpc.EnrolmentServiceStub(self.channel)
        self.dispatcher: Any = dispatcher_service_pb2_grpc.DispatcherServiceStub(self.channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return the code of an error, and the reason in its details."""
    assert isinstance(error, aio.AioRpcError)
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type] # it has what is asked of a call
    info = error_details_pb2.ErrorInfo()
    for detail in () if status is None else status.details:
        if detail.Unpack(info):
            break
    return error.code(), info.reason


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "treadle_controller", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
