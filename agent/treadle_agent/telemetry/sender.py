"""What an agent sends to a collector: spans of its hosts as they come, its metrics every so often, log records."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.export import Exporter
from treadle.telemetry.logs import encode_logs
from treadle.telemetry.metric_encoding import encode_metrics
from treadle.telemetry.metrics import Family
from treadle.telemetry.origin import read_origin
from treadle.telemetry.record import LogRecord
from treadle.telemetry.span import Span
from treadle.telemetry.span_encoding import encode_spans
from treadle_agent.frames import Spans
from treadle_agent.supervisor.record import Record

LOGS_KEPT: Final = 5_000  # records between two batches; what comes on top is dropped
LOGS_S: Final = 0.5


class Sender:
    """Made when `otlp_endpoint` is set. On the supervisor's event loop; the exporter has a thread of its own."""

    def __init__(
        self,
        endpoint: str,
        agent: str,
        interval_s: float,
        families: Callable[[], list[Family]],
        mute: Callable[[bool], None],
    ) -> None:
        self.exporter = Exporter(endpoint)
        self._interval_s = interval_s
        self._families = families
        self._mute = mute  # has hosts record nothing, or again
        self._muted = False
        self._points = 0  # data points of the last metrics
        self._since_ns = time.time_ns()
        self._records: deque[LogRecord] = deque()
        self._resource = resource_of(
            {
                c.SERVICE_NAME: "treadle-agent",
                c.SERVICE_INSTANCE_ID: agent,
                c.SERVICE_VERSION: version("treadle"),
                c.HOST_NAME: socket.gethostname(),
                c.PROCESS_PID: os.getpid(),
                c.AGENT: agent,
            }
        )

    def take(self, spans: Spans) -> None:
        """Send what a host has recorded."""
        if spans.dropped:
            self.exporter.drop("traces", spans.dropped)
        if spans.count:
            self.exporter.send("traces", spans.body, spans.count)

    def began(self, record: Record) -> None:
        """Send a span from the request for a loop's start to its first execution; the assignment is its parent."""
        wanted, run = record.wanted, record.run
        origin = None if wanted is None else read_origin({c.TRACEPARENT: wanted.traceparent})
        if origin is None or not origin.sampled or run is None or run.began is None:
            return
        if self.exporter.away:
            self.exporter.drop("traces", 1)
            return
        namespace, (workflow, loop, replica) = record.address
        span = Span(
            f"start {workflow}/{loop}",
            origin.trace_id,
            parent_id=origin.span_id,
            remote_parent=True,
            start=int(run.requested * 1e9),
            attributes={
                c.NAMESPACE: namespace,
                c.WORKFLOW: workflow,
                c.LOOP: loop,
                c.REPLICA: replica,
                c.EPOCH: run.epoch,
                c.PROCESS_PID: record.process_id,
            },
        )
        span.end = max(span.start, int(run.began * 1e9))
        self.exporter.send("traces", encode_spans([span], self._resource), 1)

    def log(self, record: LogRecord) -> None:
        """Send a line that a node or the agent logged; from any thread."""
        if len(self._records) >= LOGS_KEPT:
            self.exporter.drop("logs", 1)
        else:
            self._records.append(record)

    async def run(self) -> None:
        """Send metrics every so often, and what is left of logs more often, for ever."""
        self.exporter.start()
        due = time.monotonic()
        while True:
            if self._muted != self.exporter.away:
                self._muted = self.exporter.away
                self._mute(self._muted)
            if time.monotonic() >= due:
                await self._send_metrics()
                due = time.monotonic() + self._interval_s
            self._send_logs()
            await asyncio.sleep(min(LOGS_S, self._interval_s))

    async def stop(self) -> None:
        """Send what is left, for a moment."""
        await self._send_metrics()
        self._send_logs()
        await asyncio.to_thread(self.exporter.stop)

    async def _send_metrics(self) -> None:
        if self.exporter.away and self.exporter.waiting_bytes:
            self.exporter.drop("metrics", self._points)  # what waits finds out when the collector is back
            return
        families, now_ns = self._families(), time.time_ns()
        # Of a thousand loops it is a third of a second, in which agents have other things to do.
        body, self._points = await asyncio.to_thread(
            encode_metrics, families, self._resource, since_ns=self._since_ns, now_ns=now_ns
        )
        self.exporter.send("metrics", body, self._points)

    def _send_logs(self) -> None:
        records = [self._records.popleft() for _ in range(len(self._records))]
        if records and self.exporter.away:
            self.exporter.drop("logs", len(records))
        elif records:
            self.exporter.send("logs", encode_logs(records, self._resource), len(records))
