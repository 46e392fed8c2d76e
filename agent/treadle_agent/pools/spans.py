"""Spans of a pool host on their way to the supervisor: bounded, and never in the way of a loop.

Hosts don't export by themselves. gRPC costs a process 20 MB and threads of its own, does not survive a fork, and each
loop process would pay for it; one connection an agent is cheaper for the collector too. What a host has sent survives
it.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from importlib.metadata import version
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_by_hand
from opentelemetry.sdk import resources
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from treadle.loop.tracing import Tracing
from treadle.telemetry import conventions as c
from treadle.telemetry.encoding import resource_of
from treadle.telemetry.span import Span
from treadle.telemetry.span_encoding import encode_spans
from treadle_agent import frames
from treadle_agent.setup import Setup, Traces

MAX_KEPT: Final = 5_000  # between two collections; what comes on top is counted and dropped


class Spans:
    """Takes spans that have ended, those of iterations and those that nodes trace by hand."""

    def __init__(self, setup: Setup, traces: Traces) -> None:
        self._kept: deque[Span] = deque()
        self._by_hand: deque[ReadableSpan] = deque()
        self._dropped = 0
        attributes: dict[str, str | int] = {
            c.SERVICE_NAME: "treadle-agent",
            c.SERVICE_INSTANCE_ID: setup.agent,
            c.SERVICE_VERSION: version("treadle"),
            c.HOST_NAME: socket.gethostname(),
            c.PROCESS_PID: os.getpid(),
            c.AGENT: setup.agent,
            c.POOL: setup.role,
        }
        self._resource = resource_of(attributes)
        self.tracing = Tracing.of(traces.ratio, traces.per_second, self.take)
        # Nodes trace inside iterations that are traced, and nowhere else.
        provider = TracerProvider(
            ParentBased(ALWAYS_OFF), resources.Resource(attributes, c.SCHEMA_URL), shutdown_on_exit=False
        )
        provider.add_span_processor(_ByHand(self))
        trace.set_tracer_provider(provider)

    def take(self, spans: list[Span]) -> None:
        """Keep the spans of an iteration; from any thread."""
        if len(self._kept) + len(spans) > MAX_KEPT:
            self._dropped += len(spans)
        else:
            self._kept.extend(spans)

    def take_by_hand(self, span: ReadableSpan) -> None:
        """Keep a span that a node has traced; from any thread."""
        if len(self._by_hand) >= MAX_KEPT:
            self._dropped += 1
        else:
            self._by_hand.append(span)

    def collect(self) -> frames.Spans | None:
        """Return what came since the last time."""
        dropped, self._dropped = self._dropped + self.tracing.mute.take_lost(), 0
        kept = [self._kept.popleft() for _ in range(len(self._kept))]
        by_hand = [self._by_hand.popleft() for _ in range(len(self._by_hand))]
        if not (kept or by_hand or dropped):
            return None
        body = encode_spans(kept, self._resource) if kept else b""
        if by_hand:
            body += encode_by_hand(by_hand).SerializeToString()
        return frames.Spans(body, len(kept) + len(by_hand), dropped)


class _ByHand(SpanProcessor):
    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.take_by_hand(span)
