"""DispatcherService: one stream per agent. Any error ends the whole session; the agent makes a new one.

Thousands of agents say something each second: what they say and hear goes through one coroutine each way, and not
through iterators around iterators, each of which costs as much as taking the message in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final, NoReturn

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import dispatcher_service_pb2_grpc as pb_grpc
from treadle.workflow import is_name
from treadle_controller.access.caller import Caller
from treadle_controller.api.context import Api, Context
from treadle_controller.api.errors import abort, answers
from treadle_controller.cluster.model import Why
from treadle_controller.errors import Denied, InvalidRequest
from treadle_controller.leader import speech, wire
from treadle_controller.leader.stream import AgentStream

_log = logging.getLogger(__name__)
_HELLO_S: Final = 10.0  # a stream that says nothing is closed then


class DispatcherService(pb_grpc.DispatcherServiceServicer):
    """See protos/treadle/v1/dispatcher_service.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._roster = api.leader.roster

    @answers
    async def Session(  # type: ignore[override] # gRPC takes a coroutine that writes, too
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Context
    ) -> None:
        caller = self._api.callers.of(context)
        hello = await self._hello(request_iterator, context)
        if caller.kind == "agent" and hello.agent != caller.name:
            await self._refuse(context, f"agent {caller.name} says that it is {hello.agent}", caller)
        lie = speech.lie(self._api.leader.image, hello.agent, speech.said_in_hello(hello))
        if lie:
            await self._refuse(context, lie, caller)
        stream = self._roster.hello(hello)
        if isinstance(stream, Why):
            await context.write(pb.SessionResponse(goodbye=pb.Goodbye(reason=wire.reason(stream))))
            return
        reading = asyncio.create_task(self._read(request_iterator, stream), name=f"session of {hello.agent}")
        try:
            while (message := await stream.next_message()) is not None:
                await context.write(message)
        finally:
            reading.cancel()
            self._roster.closed(stream)
        if stream.why is not None and stream.why.code == speech.LIE:
            await self._refuse(context, stream.why.message, caller)

    async def _refuse(self, context: Context, lie: str, caller: Caller) -> NoReturn:
        self._api.audit.lied(caller.name, caller.address, lie)
        await abort(context, Denied(lie, reason=speech.LIE))

    async def _hello(self, requests: AsyncIterator[pb.SessionRequest], context: Context) -> pb.Hello:
        """Return the Hello that has to come first."""
        try:
            async with asyncio.timeout(_HELLO_S):
                first = await anext(requests, None)
        except TimeoutError:
            first = None
        if first is None or first.WhichOneof("message") != "hello":
            await abort(context, InvalidRequest("a session begins with Hello", field="message", reason="no-hello"))
        if not is_name(first.hello.agent):
            message = "an agent's name is 1 to 128 letters, digits, '.', '_', '-', and begins with a letter or digit"
            await abort(context, InvalidRequest(message, field="hello.agent", reason="bad-name"))
        return first.hello

    async def _read(self, requests: AsyncIterator[pb.SessionRequest], stream: AgentStream) -> None:
        """Take what the agent says until its stream ends."""
        try:
            async for request in requests:
                if not self._take(request, stream):
                    break
        except InvalidRequest as exc:
            stream.end(Why("bad-message", exc.message))
        except Exception:  # noqa: BLE001 - whatever it was, it ends this session and no other
            _log.exception("a message of agent %s could not be handled", stream.agent)
            stream.end(Why("bad-message", "a message of this session could not be handled"))
        stream.end()

    def _take(self, request: pb.SessionRequest, stream: AgentStream) -> bool:
        if not self._roster.beat(stream, request.session_id):
            stream.end(Why("stale-session", "the message is of a session that is over"))
            return False
        lie = speech.lie(self._api.leader.image, stream.agent, speech.said(request))
        if lie:
            stream.end(Why(speech.LIE, lie))  # of a batch with a word for another nothing counts
            return False
        match request.WhichOneof("message"):
            case "heartbeat":
                self._roster.heartbeat(stream, request.heartbeat)
            case "report":
                self._roster.report(stream, request.report)
            case "farewell":
                self._roster.farewell(stream, request.farewell)
            case "logs":
                lines = speech.own_lines(self._api.leader.image, stream.agent, request.logs.lines)
                dropped = request.logs.dropped + len(request.logs.lines) - len(lines)
                self._api.leader.logs.give(stream, lines, dropped, request.logs.recall)
            case _:
                stream.end(Why("bad-message", "this message has no place in a session that has begun"))
                return False
        return True
