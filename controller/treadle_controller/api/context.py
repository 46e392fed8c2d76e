"""What services share: the leader, who calls, and answers that were given already."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from grpc import aio

from treadle_controller.errors import InvalidRequest, NotFound
from treadle_controller.leader import Leader
from treadle_controller.leader.applying import Applying
from treadle_controller.leader.commands import Commands
from treadle_controller.store import requests
from treadle_controller.store.records import AnswerRecord

Answer = TypeVar("Answer", bound=Message)
Context = aio.ServicerContext[Any, Any]
_MOST_ID: Final = 128
_ACTOR_KEY: Final = "treadle-actor"


@dataclass(slots=True)
class Api:
    """What every service is made with."""

    leader: Leader
    commands: Commands
    applying: Applying
    _under_way: dict[str, asyncio.Lock] = field(default_factory=dict)

    def namespace(self, name: str) -> str:
        """Return the namespace meant; empty means the controller's. Raises NotFound for another one."""
        own = self.leader.image.namespace
        if name not in ("", own):
            message = f"there is no namespace {name!r} here; this controller serves {own!r}"
            raise NotFound(message, reason="namespace-not-found", kind="namespace", name=name)
        return own

    def actor(self, context: Context) -> str:
        """Return who asks: what the client calls itself, else where it calls from."""
        for key, value in context.invocation_metadata() or ():
            if key == _ACTOR_KEY and isinstance(value, str):
                return value[:128]
        return context.peer()

    async def once(self, request: Any, answer: Callable[[], Awaitable[Answer]], kind: type[Answer]) -> Answer:
        """Answer a request, or answer what its request id was answered before."""
        request_id = request.request_id
        if not request_id or getattr(request, "validate_only", False):
            return await answer()
        if len(request_id) > _MOST_ID:
            raise InvalidRequest(f"request_id is longer than {_MOST_ID} characters", field="request_id")
        lock = self._under_way.setdefault(request_id, asyncio.Lock())
        try:
            async with lock:
                return await self._once(request, answer, kind)
        finally:
            if not lock.locked():
                self._under_way.pop(request_id, None)

    async def _once(self, request: Any, answer: Callable[[], Awaitable[Answer]], kind: type[Answer]) -> Answer:
        method, fingerprint = type(request).__name__, _fingerprint(request)
        store = self.leader.store
        known = await store.read(lambda connection: requests.get_answer(connection, request.request_id))
        if known is not None:
            if (known.method, known.fingerprint) != (method, fingerprint):
                message = f"request_id {request.request_id!r} was used for another request"
                raise InvalidRequest(message, field="request_id", reason="request-id-reused")
            return kind.FromString(known.answer)
        given = await answer()
        record = AnswerRecord(request.request_id, method, fingerprint, given.SerializeToString(), time.time())
        await store.write(lambda connection: requests.put_answer(connection, record))
        return given


def _fingerprint(request: Message) -> str:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
