"""The guard: an interceptor in front of every RPC. By `access.policy` it lets through or refuses, and writes down."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from treadle_controller.access.caller import Caller, Role
from treadle_controller.access.policy import POLICY, may
from treadle_controller.api.audit import Audit
from treadle_controller.api.callers import Callers, Context
from treadle_controller.api.errors import abort
from treadle_controller.errors import Denied, InvalidRequest, Refused, Unauthenticated

_LOCAL_MAY_ALL: Final = (Role.ADMIN, Role.AGENT)  # without identities there is nobody to keep out


class Guard(aio.ServerInterceptor):
    """See the module."""

    def __init__(self, callers: Callers, audit: Audit) -> None:
        self._callers = callers
        self._audit = audit

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler  # no such method
        method = handler_call_details.method
        if not handler.response_streaming:
            kind = "stream_unary" if handler.request_streaming else "unary_unary"
            return self._put(handler, kind, self._unary(method, handler, getattr(handler, kind)))
        kind = "stream_stream" if handler.request_streaming else "unary_stream"
        inner = getattr(handler, kind)
        writes = not inspect.isasyncgenfunction(inner)
        guarded = self._unary(method, handler, inner) if writes else self._stream(method, handler, inner)
        return self._put(handler, kind, guarded)

    def _put(self, handler: Any, kind: str, behaviour: Any) -> Any:
        """Return a handler that gets its requests as bytes: nobody's are read before it is known that he may call."""
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(behaviour, None, handler.response_serializer)

    def _unary(self, method: str, handler: Any, inner: Any) -> Any:
        async def guarded(sent: Any, context: Context) -> Any:
            caller = await self._admit(method, context)
            request = await _read(handler, sent, context)
            if not POLICY[method].audited:
                return await inner(request, context)
            done = False
            try:
                answer = await inner(request, context)
                done = True
            finally:
                outcome = "done" if done else grpc_name(context.code())
                self._audit.called(caller, method, request if isinstance(request, Message) else None, outcome)
            return answer

        return guarded

    def _stream(self, method: str, handler: Any, inner: Any) -> Any:
        async def guarded(sent: Any, context: Context) -> AsyncIterator[Any]:
            await self._admit(method, context)
            request = await _read(handler, sent, context)
            async for answer in inner(request, context):
                yield answer

        return guarded

    async def _admit(self, method: str, context: Context) -> Caller:
        """Return the caller, or end the call."""
        caller = self._callers.seen(context)
        try:
            caller = self._callers.of(context)
            self._judge(caller, method)
        except Refused as exc:
            self._audit.refused(caller, method, exc)
            await abort(context, exc)
        return caller

    def _judge(self, caller: Caller, method: str) -> None:
        """Raise Unauthenticated or Denied unless the caller may."""
        roles = _LOCAL_MAY_ALL if caller.kind == "local" else (self._callers.role(caller),)
        if any(may(role, method) for role in roles):
            return
        name = method.rpartition("/")[2]
        if caller.kind == "nobody":
            raise Unauthenticated(f"{name} needs a certificate or a token", reason="no-identity")
        raise Denied(
            f"{caller.kind} {caller.name} may not call {name} here: its role is {roles[0]}", reason="not-allowed"
        )


async def _read(handler: Any, sent: Any, context: Context) -> Any:
    """Return the request, or an iterator; what can't be read ends the call, or is raised by the iterator."""
    if handler.request_streaming:
        return _Requests(handler.request_deserializer, context)
    try:
        return _decoded(handler.request_deserializer, sent)
    except InvalidRequest as exc:
        await abort(context, exc)


class _Requests:
    """The requests of a stream. Thousands of agents send one each second: no generator is put around that of gRPC."""

    def __init__(self, decode: Callable[[bytes], Any], context: Context) -> None:
        self._decode = decode
        self._read = context.read

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        sent = await self._read()
        if sent is aio.EOF:
            raise StopAsyncIteration
        return _decoded(self._decode, sent)


def _decoded(decode: Callable[[bytes], Any], sent: bytes) -> Any:
    try:
        return decode(sent)
    except DecodeError as exc:
        raise InvalidRequest("the request is no message of this method", field="") from exc


def grpc_name(code: Any) -> str:
    """Return the name of a status code, however gRPC happens to hold it."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((one.name for one in grpc.StatusCode if one.value[0] == code), "CANCELLED")
