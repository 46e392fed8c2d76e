"""The gRPC server: all services, health and reflection, on one port."""

from __future__ import annotations

from typing import Any, Final

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from treadle.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    client_service_pb2,
    client_service_pb2_grpc,
    dispatcher_service_pb2,
    dispatcher_service_pb2_grpc,
    enrolment_service_pb2,
    enrolment_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    loop_service_pb2,
    loop_service_pb2_grpc,
    node_type_service_pb2,
    node_type_service_pb2_grpc,
    queue_service_pb2,
    queue_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from treadle_controller.api.agents import AgentService, NodeTypeService
from treadle_controller.api.clients import ClientService
from treadle_controller.api.context import Api
from treadle_controller.api.dispatcher import DispatcherService
from treadle_controller.api.enrolment import EnrolmentService
from treadle_controller.api.events import EventService
from treadle_controller.api.guard import Guard
from treadle_controller.api.loops import LoopService
from treadle_controller.api.queues import QueueService
from treadle_controller.api.workflows import WorkflowService
from treadle_controller.errors import StartFailed
from treadle_controller.telemetry.calls import CallTracing

_MOST_BYTES: Final = 8 * 1024 * 1024
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_receive_message_length", _MOST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second controller on the port is told, not given half of the calls
    ("grpc.keepalive_time_ms", 1_000),
    # Longer than a lease, which notices a silent agent first: on a slow, lossy link pings take their time.
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # gRPC would send a ping for whatever it reads, to measure the bandwidth: that costs more than a heartbeat.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),  # so much in flight without it: as fast on a slow link
    ("grpc.server.max_pending_requests", 100_000),  # a thousand agents may come back at once
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
]


class GrpcServer:
    """Serves the API. `address` is where, once it has started."""

    def __init__(self, api: Api) -> None:
        self._server = aio.server(
            options=_OPTIONS, interceptors=[Guard(api.callers, api.audit), CallTracing(api.tracer)]
        )
        self._health = health.aio.HealthServicer()
        self.address = ""
        self._queues = QueueService(api)
        self._add(api)

    async def start(self, listen: str) -> None:
        """Bind and serve, in plain text: on this machine, or behind the door. Raises StartFailed."""
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as exc:
            raise StartFailed(f"cannot listen on {listen}: {exc}") from exc
        await self._server.start()
        self.address = f"{listen.rpartition(':')[0]}:{port}"
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way finish for a while, close."""
        await self._health.enter_graceful_shutdown()
        await self._queues.stop()
        await self._server.stop(grace_s)

    def _add(self, api: Api) -> None:
        server = self._server
        workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(WorkflowService(api), server)
        loop_service_pb2_grpc.add_LoopServiceServicer_to_server(LoopService(api), server)
        queue_service_pb2_grpc.add_QueueServiceServicer_to_server(self._queues, server)
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(AgentService(api), server)
        node_type_service_pb2_grpc.add_NodeTypeServiceServicer_to_server(NodeTypeService(api), server)
        client_service_pb2_grpc.add_ClientServiceServicer_to_server(ClientService(api), server)
        enrolment_service_pb2_grpc.add_EnrolmentServiceServicer_to_server(EnrolmentService(api), server)
        event_service_pb2_grpc.add_EventServiceServicer_to_server(EventService(api), server)
        dispatcher_service_pb2_grpc.add_DispatcherServiceServicer_to_server(DispatcherService(api), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(served(), server)


def served() -> list[str]:
    """Return the full names of all services."""
    files = (
        workflow_service_pb2,
        loop_service_pb2,
        queue_service_pb2,
        agent_service_pb2,
        node_type_service_pb2,
        event_service_pb2,
        client_service_pb2,
        enrolment_service_pb2,
        dispatcher_service_pb2,
    )
    own = [name.full_name for file in files for name in file.DESCRIPTOR.services_by_name.values()]
    return [*own, health.SERVICE_NAME, reflection.SERVICE_NAME]
