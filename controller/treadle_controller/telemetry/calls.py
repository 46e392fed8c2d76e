"""A span for each call that is traced, in the trace of whoever calls, and what its messages take along.

A stream has one span as well, by the conventions, from its beginning to its end, and none for what is said in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc import aio

from treadle.telemetry import conventions as c
from treadle.telemetry.origin import context_headers, new_trace_id, read_origin
from treadle.telemetry.span import Kind, Span
from treadle_controller.telemetry.tracer import Tracer

_OURS: Final = "/treadle.v1."
_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
# By the conventions: those that a server answers for itself; the others are the caller's.
_ERRORS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


@dataclass(frozen=True, slots=True)
class Call:
    """The call that is being answered: its span if it is traced, and what its metadata says of traces and baggage."""

    span: Span | None
    headers: Mapping[str, str]


calling: ContextVar[Call | None] = ContextVar("treadle_call", default=None)


def mark_call(record: logging.LogRecord) -> bool:
    """Add the ids of the call that is being answered, if it is traced, to a line of the log; a logging filter."""
    call = calling.get()
    if call is not None and call.span is not None:
        record.trace_id, record.span_id = f"{call.span.trace_id:032x}", f"{call.span.span_id:016x}"
    return True


class CallTracing(aio.ServerInterceptor):
    """Traces what its caller traces, and of the rest what the settings say; without a tracer it passes contexts on."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the method of a call of ours."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_OURS):
            return handler
        metadata = {
            key: value for key, value in handler_call_details.invocation_metadata or () if isinstance(value, str)
        }
        if handler.response_streaming:
            stream: grpc.RpcMethodHandler[Any, Any] = self._stream(handler, self._begin(method, metadata))
            return stream
        answer: Any = handler.unary_unary
        if answer is None:
            return handler  # there is no such method of ours

        async def answered(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            call = self._begin(method, metadata)
            calling.set(call)
            if call.span is None:
                return await answer(request, context)
            with self._ending(call.span, context):
                return await answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answered,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _stream(self, handler: Any, call: Call) -> Any:
        """Wrap a method that answers with a stream; one that is not traced stays as quick as it is."""
        span = call.span
        if span is None:
            return handler
        kind = "stream_stream" if handler.request_streaming else "unary_stream"
        answers: Any = getattr(handler, kind)

        async def answered(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            calling.set(call)
            with self._ending(span, context):
                async for answer in answers(request, context):
                    yield answer

        async def written(request: Any, context: aio.ServicerContext[Any, Any]) -> None:
            calling.set(call)
            with self._ending(span, context):
                await answers(request, context)

        wrapped = answered if inspect.isasyncgenfunction(answers) else written
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _begin(self, method: str, metadata: Mapping[str, str]) -> Call:
        headers = context_headers(metadata)
        origin = read_origin(headers)
        tracer = self._tracer
        if tracer is None or not tracer.wants(origin):
            return Call(None, headers)
        name = method.removeprefix("/")
        span = Span(
            name,
            new_trace_id() if origin is None else origin.trace_id,
            parent_id=0 if origin is None else origin.span_id,
            remote_parent=origin is not None,
            start=time.time_ns(),
            kind=Kind.SERVER,
            state="" if origin is None else origin.state,
            attributes={c.RPC_SYSTEM_NAME: c.GRPC, c.RPC_METHOD: name},
        )
        return Call(span, headers)

    @contextlib.contextmanager
    def _ending(self, span: Span, context: aio.ServicerContext[Any, Any]) -> Iterator[None]:
        """End a span with what is done inside; who calls may have gone before that."""
        gone = False
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            gone = True
            raise
        finally:
            self._end(span, context, gone=gone)

    def _end(self, span: Span, context: aio.ServicerContext[Any, Any], *, gone: bool) -> None:
        code: Any = context.code()
        status = _NAMES.get(code, "OK") if not isinstance(code, grpc.StatusCode) else code.name
        if gone and status == "OK":
            status = grpc.StatusCode.CANCELLED.name
        span.end = time.time_ns()
        span.attributes[c.RPC_RESPONSE_STATUS_CODE] = status
        if status in _ERRORS:
            span.attributes[c.ERROR_TYPE] = status
            span.error = str(context.details() or status)[:1_000]
        if self._tracer is not None:
            self._tracer.ended(span)


def sending(queue: str, count: int, tracer: Tracer | None) -> dict[str, str] | None:
    """Return the headers of messages that the call under way pushes; traced ones come from a span below it."""
    call = calling.get()
    if call is None:
        return None
    if call.span is None or tracer is None:
        return dict(call.headers) or None
    span = call.span.child(f"{c.SEND} {queue}", time.time_ns(), Kind.PRODUCER)
    span.attributes = {
        c.MESSAGING_SYSTEM: c.SYSTEM,
        c.MESSAGING_OPERATION_NAME: c.SEND,
        c.MESSAGING_OPERATION_TYPE: c.SEND,
        c.MESSAGING_DESTINATION_NAME: queue,
        c.MESSAGING_BATCH_MESSAGE_COUNT: count,
    }
    tracer.ended(span)
    return {**call.headers, c.TRACEPARENT: span.origin.traceparent}
