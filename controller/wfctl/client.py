"""The one seam to the controller: synchronous gRPC in, messages or typed errors out.

No other module of wfctl catches or raises an error of gRPC.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log lines would stand among ours; read when it is imported

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from treadle.v1 import (
    agent_service_pb2_grpc,
    client_service_pb2_grpc,
    event_service_pb2_grpc,
    loop_service_pb2_grpc,
    node_type_service_pb2_grpc,
    queue_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from wfctl import findings
from wfctl.errors import (
    BadUsage,
    Conflict,
    InvalidWorkflow,
    NotFound,
    Refused,
    Unhealthy,
    Unreachable,
    WfctlError,
)
from wfctl.settings import Settings

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
PAGE: Final = 1000
_MAX_MESSAGE: Final = 64 * 1024 * 1024

# Status code -> our error, which has its exit code. What is not here is a Refused.
ERRORS: Final[dict[grpc.StatusCode, type[WfctlError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: BadUsage,
    grpc.StatusCode.OUT_OF_RANGE: BadUsage,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unhealthy,
    grpc.StatusCode.UNAVAILABLE: Unreachable,
}

# What is not there -> the command that lists what is.
LISTS: Final = {
    "workflow-not-found": "wfctl get workflows",
    "loop-not-found": "wfctl get loops",
    "node-not-found": "wfctl get nodes",
    "queue-not-found": "wfctl queue ls --all",
    "agent-not-found": "wfctl agent ls",
    "revision-not-found": "wfctl get workflows -o wide",
    "consumer-not-found": "wfctl describe queue",
    "dead-letter-not-found": "wfctl dlq ls",
    "unknown-node-type": "wfctl node-types ls",
}


class Client:
    """Calls to one controller; use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._channel = _channel(settings)
        token = (("authorization", f"Bearer {settings.token}"),) if settings.token else ()
        self._metadata = (("treadle-actor", actor()), *token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; streams that are being read end."""
        self._channel.close()

    @cached_property
    def agents(self) -> agent_service_pb2_grpc.AgentServiceStub:
        return agent_service_pb2_grpc.AgentServiceStub(self._channel)

    @cached_property
    def clients(self) -> client_service_pb2_grpc.ClientServiceStub:
        return client_service_pb2_grpc.ClientServiceStub(self._channel)

    @cached_property
    def events(self) -> event_service_pb2_grpc.EventServiceStub:
        return event_service_pb2_grpc.EventServiceStub(self._channel)

    @cached_property
    def loops(self) -> loop_service_pb2_grpc.LoopServiceStub:
        return loop_service_pb2_grpc.LoopServiceStub(self._channel)

    @cached_property
    def node_types(self) -> node_type_service_pb2_grpc.NodeTypeServiceStub:
        return node_type_service_pb2_grpc.NodeTypeServiceStub(self._channel)

    @cached_property
    def queues(self) -> queue_service_pb2_grpc.QueueServiceStub:
        return queue_service_pb2_grpc.QueueServiceStub(self._channel)

    @cached_property
    def workflows(self) -> workflow_service_pb2_grpc.WorkflowServiceStub:
        return workflow_service_pb2_grpc.WorkflowServiceStub(self._channel)

    def call(self, method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q) -> A:
        """Call a method once. Raises a WfctlError."""
        try:
            return method(request, timeout=self.settings.timeout_s, metadata=self._metadata)
        except grpc.RpcError as exc:
            raise self._error(exc) from exc

    def call_all(self, method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q) -> A:
        """Call a method that lists, page after page, and return all of them as one answer."""
        paged: Any = request
        paged.page_size = PAGE
        answer: Any = self.call(method, request)
        while answer.next_page_token:
            paged.page_token = answer.next_page_token
            page: Any = self.call(method, request)
            answer.MergeFrom(page)
            answer.next_page_token = page.next_page_token
        whole: A = answer
        return whole

    def stream(
        self, method: grpc.UnaryStreamMultiCallable[Q, A], request: Q, *, timeout_s: float | None = None
    ) -> Iterator[A]:
        """Read a stream until the server, the time or `close` ends it. Raises a WfctlError."""
        answers = method(request, timeout=timeout_s, metadata=self._metadata)
        try:
            yield from answers
        except grpc.RpcError as exc:
            if _code(exc) is grpc.StatusCode.CANCELLED or (
                timeout_s is not None and _code(exc) is grpc.StatusCode.DEADLINE_EXCEEDED
            ):
                return
            raise self._error(exc) from exc
        finally:
            answers.cancel()

    def is_reachable(self, timeout_s: float) -> bool:
        """Return whether a connection is made within the time."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout=timeout_s)
        except grpc.FutureTimeoutError:
            return False
        return True

    def _error(self, exc: grpc.RpcError) -> WfctlError:
        code = _code(exc)
        details = str(getattr(exc, "details", str)() or code.name.lower())
        if code is grpc.StatusCode.UNAVAILABLE and not _is_answer(exc):
            return _unreachable(self.settings.address, details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unhealthy(
                f"no answer from {self.settings.address} within {self.settings.timeout_s:g}s; see --timeout"
            )
        return _typed(exc, code, details)


def actor() -> str:
    """Return who calls, for events: user and host, in characters that travel as metadata."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return re.sub(r"[^\x21-\x7e]", "?", f"{user}@{socket.gethostname()}")


def _typed(exc: grpc.RpcError, code: grpc.StatusCode, sentence: str) -> WfctlError:
    """Return our error for a status, with what its details say."""
    status: Any = rpc_status.from_call(exc) if isinstance(exc, grpc.Call) else None
    reason = ""
    for detail in () if status is None else status.details:
        found = _unpack(detail, workflow_service_pb2.ValidateWorkflowResponse)
        if found is not None:
            return InvalidWorkflow(sentence, findings=findings.of("", found.findings))
        info = _unpack(detail, error_details_pb2.ErrorInfo)
        reason = info.reason if info is not None else reason
    kind = Refused if code is grpc.StatusCode.UNAVAILABLE else ERRORS.get(code, Refused)
    look = LISTS.get(reason) if kind is NotFound else None
    error = kind(f"{sentence}; see: {look}" if look is not None else sentence)
    error.details["reason"] = reason
    return error


def _is_answer(exc: grpc.RpcError) -> bool:
    """Whether the controller itself said so: then there is one."""
    status: Any = rpc_status.from_call(exc) if isinstance(exc, grpc.Call) else None
    return status is not None and len(status.details) > 0


def _unpack(detail: Any, kind: type[A]) -> A | None:
    message = kind()
    return message if detail.Unpack(message) else None


def _unreachable(address: str, details: str) -> Unreachable:
    why = "connection refused" if "refused" in details.lower() else details
    return Unreachable(
        f"the controller at {address} can't be reached ({why}); start one with `wfctl dev`, or name it with --address"
    )


def _code(exc: grpc.RpcError) -> grpc.StatusCode:
    code: Callable[[], grpc.StatusCode] = getattr(exc, "code", lambda: grpc.StatusCode.UNKNOWN)
    return code()


def _channel(settings: Settings) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE),
        ("grpc.max_send_message_length", _MAX_MESSAGE),
        ("grpc.enable_http_proxy", 0),  # a proxy of the browser's has nothing to do with the cluster
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if settings.cacert is None:
        if settings.cert or settings.key:
            raise BadUsage("--cert and --key need --cacert, the authority that the server is checked against")
        return grpc.insecure_channel(settings.address, options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(settings.cacert),
        private_key=None if settings.key is None else _pem(settings.key, private=True),
        certificate_chain=None if settings.cert is None else _pem(settings.cert),
    )
    return grpc.secure_channel(settings.address, credentials, options)


def _pem(name: str, *, private: bool = False) -> bytes:
    path = Path(name)
    try:
        if private and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadUsage(f"the key {name} can be read by others; run: chmod 600 {name}")
        content = path.read_bytes()
    except OSError as exc:
        raise BadUsage(f"{name} can't be read: {exc.strerror or exc}") from exc
    wanted = b"PRIVATE KEY-----" if private else b"-----BEGIN CERTIFICATE-----"
    if wanted not in content:
        raise BadUsage(f"{name} holds no {'private key' if private else 'certificate'}; give a PEM file")
    return content
