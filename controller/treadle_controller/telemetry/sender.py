"""What the controller sends to a collector: spans as they come, the metrics of the whole cluster every so often."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.export import Exporter
from treadle.telemetry.logs import encode_logs
from treadle.telemetry.metric_encoding import encode_metrics
from treadle.telemetry.metrics import Family
from treadle.telemetry.record import LogRecord
from treadle.telemetry.span import Span
from treadle.telemetry.span_encoding import encode_spans

MAX_KEPT: Final = 5_000  # spans, or log records, between two batches
GATHER_S: Final = 0.5


class Sender:
    """On the controller's event loop; the exporter has a thread of its own."""

    def __init__(self, endpoint: str, name: str, namespace: str, interval_s: float) -> None:
        self.exporter = Exporter(endpoint)
        self._interval_s = interval_s
        self._since_ns = time.time_ns()
        self._spans: list[Span] = []
        self._records: deque[LogRecord] = deque()
        self._resource = resource_of(
            {
                c.SERVICE_NAME: "treadle-controller",
                c.SERVICE_NAMESPACE: namespace,
                c.SERVICE_INSTANCE_ID: name,
                c.SERVICE_VERSION: version("treadle"),
                c.HOST_NAME: socket.gethostname(),
                c.PROCESS_PID: os.getpid(),
            }
        )

    def take(self, span: Span) -> None:
        """Keep a span for the next batch."""
        if self.exporter.away or len(self._spans) >= MAX_KEPT:
            self.exporter.drop("traces", 1)
        else:
            self._spans.append(span)

    def log(self, record: LogRecord) -> None:
        """Keep a line of the log for the next batch; from any thread."""
        if self.exporter.away or len(self._records) >= MAX_KEPT:
            self.exporter.drop("logs", 1)
        else:
            self._records.append(record)

    async def run(self, families: Callable[[], Awaitable[list[Family]]]) -> None:
        """Send for ever."""
        self.exporter.start()
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval_s
                await self._send_metrics(await families())
            self._flush()
            await asyncio.sleep(min(GATHER_S, self._interval_s))

    async def _send_metrics(self, families: list[Family]) -> None:
        now_ns = time.time_ns()
        body, points = await asyncio.to_thread(
            encode_metrics, families, self._resource, since_ns=self._since_ns, now_ns=now_ns
        )
        self.exporter.send("metrics", body, points)

    async def stop(self) -> None:
        """Send what is left, for a moment."""
        self._flush()
        await asyncio.to_thread(self.exporter.stop)

    def _flush(self) -> None:
        spans, self._spans = self._spans, []
        if spans:
            self.exporter.send("traces", encode_spans(spans, self._resource), len(spans))
        records = [self._records.popleft() for _ in range(len(self._records))]
        if records:
            self.exporter.send("logs", encode_logs(records, self._resource), len(records))
