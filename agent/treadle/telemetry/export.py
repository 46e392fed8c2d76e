"""Sends telemetry to a collector, over gRPC, in a thread of its own: nothing that works ever waits for it.

What is to be sent is encoded already. It waits in a bounded queue; what finds no room there, what the collector
refuses, and what it has not taken after some tries is dropped and counted. A collector that is away costs a call a
try, with growing pauses, and the queue's memory; and once something was dropped for its sake, whoever makes telemetry
is told (`away`) and makes no more than what it takes to find out that it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from treadle.errors import ConfigError
from treadle.telemetry.endpoint import ENDPOINT_FORM, is_endpoint

_log = logging.getLogger(__name__)

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")
MAX_BYTES: Final = 8 * 1024 * 1024  # that wait
CALL_BYTES: Final = 1024 * 1024  # in one call
TIMEOUT_S: Final = 10.0
TRIES: Final = 4
PAUSE_S: Final = (1.0, 30.0)
GATHER_S: Final = 0.5  # so that many small batches are one call
FAREWELL_S: Final = 2.0

_METHODS: Final[dict[Signal, str]] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
# By OTLP's specification; with any other the same again would come to the same.
_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Parcel(NamedTuple):
    """Encoded export requests, and how many spans, data points or log records they hold."""

    signal: Signal
    body: bytes
    items: int


@dataclass(slots=True)
class Tally:
    """What became of the spans, data points or log records of one signal."""

    sent: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Waiting:
    parcels: deque[Parcel] = field(default_factory=deque)
    size: int = 0


class Exporter:
    """`send` may be called from any thread and never waits. `endpoint`: `http://host:port`, with https for TLS.

    Raises ConfigError for an endpoint that is none.
    """

    def __init__(self, endpoint: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = _channel(endpoint)
        # The three answers are alike on the wire: how many were rejected is the same field in each.
        read = ExportTraceServiceResponse.FromString
        self._calls: dict[Signal, grpc.UnaryUnaryMultiCallable[bytes, ExportTraceServiceResponse]] = {
            signal: self._channel.unary_unary(method, response_deserializer=read) for signal, method in _METHODS.items()
        }
        self._clock = clock
        self._waiting = _Waiting()
        self._changed = threading.Condition()
        self._stopping = False
        self._pause_s = 0.0
        self.away = False  # what waits now is likely to be dropped
        self._refused: set[Signal] = set()  # that the collector does not want, which was told
        self.tally = {signal: Tally() for signal in SIGNALS}
        self._thread = threading.Thread(target=self._run, name="treadle telemetry", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """How much waits."""
        return self._waiting.size

    def send(self, signal: Signal, body: bytes, count: int) -> None:
        """Send what holds so many spans, data points or log records, sooner or later; or drop it."""
        with self._changed:
            if self._stopping or self._waiting.size + len(body) > MAX_BYTES:
                self._count(signal, dropped=count)
                return
            self._waiting.parcels.append(Parcel(signal, body, count))
            self._waiting.size += len(body)
            self._changed.notify()

    def drop(self, signal: Signal, count: int) -> None:
        """Count what was dropped before it came here."""
        self._count(signal, dropped=count)

    def stop(self) -> None:
        """Send what waits, but for a short while only, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(FAREWELL_S)
        self._channel.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting.parcels or self._stopping):
                    self._changed.wait()
                if self._stopping and not self._waiting.parcels:
                    return
                self._changed.wait_for(lambda: self._stopping, GATHER_S)
                signal, body, count = self._take()
            self._deliver(signal, body, count)

    def _take(self) -> Parcel:
        """Take what waits of the signal that has waited longest, as much as one call may hold."""
        parcels, signal = self._waiting.parcels, self._waiting.parcels[0].signal
        taken: list[Parcel] = []
        left: deque[Parcel] = deque()
        size = 0
        for parcel in parcels:
            if parcel.signal == signal and (not taken or size + len(parcel.body) <= CALL_BYTES):
                taken.append(parcel)
                size += len(parcel.body)
            else:
                left.append(parcel)
        self._waiting.parcels = left
        self._waiting.size -= size
        return Parcel(signal, b"".join(parcel.body for parcel in taken), sum(parcel.items for parcel in taken))

    def _deliver(self, signal: Signal, body: bytes, count: int) -> None:
        for left in reversed(range(TRIES)):
            error = self._call(signal, body)
            if isinstance(error, int):
                self._well()
                self._refused.discard(signal)
                self._count(signal, sent=count - error, dropped=error)
                return
            if error.code() not in _AGAIN:
                self._refuse(signal, error)
                break
            self._unwell(error)
            self.away = self.away or not left
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, self._pause_s):
                    break
        self._count(signal, dropped=count)

    def _count(self, signal: Signal, *, sent: int = 0, dropped: int = 0) -> None:
        with self._changed:
            self.tally[signal].sent += sent
            self.tally[signal].dropped += dropped

    def _call(self, signal: Signal, body: bytes) -> grpc.RpcError | int:
        """Call the collector; return how many it took and rejected, or why it took none."""
        timeout = FAREWELL_S / 2 if self._stopping else TIMEOUT_S
        try:
            answer = self._calls[signal](body, timeout=timeout)
        except grpc.RpcError as exc:
            return exc
        except ValueError:  # the channel was closed: too late
            return _Closed()
        return int(answer.partial_success.rejected_spans)

    def _well(self) -> None:
        if self._pause_s:
            _log.info("the collector takes telemetry again")
        self._pause_s = 0.0
        self.away = False

    def _refuse(self, signal: Signal, error: grpc.RpcError) -> None:
        if signal not in self._refused and not self._stopping:
            self._refused.add(signal)
            told = str(error.details() or "")[:500] if isinstance(error, grpc.Call) else ""
            _log.warning("the collector refuses %s: %s %s; they are dropped", signal, error.code().name, told)

    def _unwell(self, error: grpc.RpcError) -> None:
        if not self._pause_s:
            _log.warning("the collector takes no telemetry: %s; work goes on without it", error.code().name)
        self._pause_s = min(PAUSE_S[1], max(PAUSE_S[0], 2 * self._pause_s))


class _Closed(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL


def _channel(endpoint: str) -> grpc.Channel:
    if not is_endpoint(endpoint):
        raise ConfigError(f"otlp_endpoint is written {ENDPOINT_FORM}")
    parts = urlsplit(endpoint)
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if parts.scheme == "https":
        return grpc.secure_channel(parts.netloc, grpc.ssl_channel_credentials(), options=options)
    return grpc.insecure_channel(parts.netloc, options=options)
