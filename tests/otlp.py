"""A real OTLP receiver: a gRPC server made of OpenTelemetry's own protocol, that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

T = TypeVar("T")
PATIENCE_S = 30.0


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}


@dataclass(frozen=True)
class GotSpan:
    """A span as it came, with its resource."""

    raw: Any
    resource: dict[str, Any]
    schema: str

    @property
    def name(self) -> str:
        return str(self.raw.name)

    @property
    def trace_id(self) -> bytes:
        return bytes(self.raw.trace_id)

    @property
    def id(self) -> bytes:
        return bytes(self.raw.span_id)

    @property
    def parent(self) -> bytes:
        return bytes(self.raw.parent_span_id)

    @property
    def links(self) -> list[bytes]:
        return [bytes(link.span_id) for link in self.raw.links]

    @property
    def attributes(self) -> dict[str, Any]:
        return values(self.raw.attributes)


class Receiver:
    """Keeps spans, metrics and log records. `refuse`: answer every call with this status instead."""

    def __init__(self, *, keep: bool = True) -> None:
        self.keeps = keep
        self.refuse: grpc.StatusCode | None = None
        self.hold: threading.Event | None = None  # calls wait for it
        self.calls = 0
        self._traces: list[Any] = []
        self._metrics: list[Any] = []
        self._logs: list[Any] = []
        self._news = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(8))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        for add, kept, answer in (
            (
                trace_service_pb2_grpc.add_TraceServiceServicer_to_server,
                self._traces,
                trace_service_pb2.ExportTraceServiceResponse,
            ),
            (
                metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
                self._metrics,
                metrics_service_pb2.ExportMetricsServiceResponse,
            ),
            (
                logs_service_pb2_grpc.add_LogsServiceServicer_to_server,
                self._logs,
                logs_service_pb2.ExportLogsServiceResponse,
            ),
        ):
            add(_Service(self, kept, answer), self._server)  # type: ignore[no-untyped-call]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def took(self, keep: list[Any], request: Any, context: Any) -> None:
        with self._news:
            self.calls += 1
            self._news.notify_all()
        if self.hold is not None:
            self.hold.wait(PATIENCE_S)
        if self.refuse is not None:
            context.abort(self.refuse, "as the test wants it")
        with self._news:
            if self.keeps:
                keep.append(request)
            self._news.notify_all()

    def start(self) -> Receiver:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(0).wait()

    @property
    def spans(self) -> list[GotSpan]:
        return [
            GotSpan(span, values(of_resource.resource.attributes), of_resource.schema_url)
            for request in list(self._traces)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def points(self) -> list[tuple[str, str, dict[str, Any], Any]]:
        """Return all data points: service, metric, attributes, point."""
        return [
            (values(of_resource.resource.attributes)["service.name"], metric.name, values(point.attributes), point)
            for request in list(self._metrics)
            for of_resource in request.resource_metrics
            for metric in of_resource.scope_metrics[0].metrics
            for point in getattr(metric, metric.WhichOneof("data") or "gauge").data_points
        ]

    @property
    def everything(self) -> str:
        """All that came, byte for byte."""
        with self._news:
            kept = [*self._traces, *self._metrics, *self._logs]
        return b"".join(request.SerializeToString() for request in kept).decode("latin-1")

    @property
    def logs(self) -> list[Any]:
        return [
            record
            for request in list(self._logs)
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """Return the first true value of a condition, looked at whenever something came."""
        with self._news:
            if not self._news.wait_for(condition, PATIENCE_S):
                raise AssertionError(f"not within {PATIENCE_S:g}s: {what}")
        return condition()


class _Service:
    def __init__(self, receiver: Receiver, keep: list[Any], answer: Callable[[], Any]) -> None:
        self._receiver = receiver
        self._keep = keep
        self._answer = answer

    def Export(self, request: Any, context: Any) -> Any:
        self._receiver.took(self._keep, request, context)
        return self._answer()


@contextmanager
def receiver(*, keep: bool = True) -> Iterator[Receiver]:
    """Run a receiver for the length of a block."""
    running = Receiver(keep=keep).start()
    try:
        yield running
    finally:
        running.stop()
