"""What services share: the leader, who calls, and answers that were given already."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from treadle_controller.access.authority import Authority
from treadle_controller.access.identities import Identities
from treadle_controller.api.audit import Audit
from treadle_controller.api.callers import Callers, Context
from treadle_controller.errors import InvalidRequest, NotFound, Refused
from treadle_controller.leader import Leader
from treadle_controller.leader.applying import Applying
from treadle_controller.leader.commands import Commands
from treadle_controller.store import requests
from treadle_controller.store.records import AnswerRecord
from treadle_controller.telemetry.tracer import Tracer

Answer = TypeVar("Answer", bound=Message)
_MOST_ID: Final = 128

__all__ = ["Api", "Context"]


@dataclass(slots=True)
class Api:
    """What every service is made with."""

    leader: Leader
    commands: Commands
    applying: Applying
    callers: Callers
    identities: Identities
    audit: Audit
    signer: Authority | None = None  # None: certificates come from somewhere else
    agent_certificate_s: float = 0.0  # how long those of agents are good
    tracer: Tracer | None = None
    _under_way: dict[str, asyncio.Lock] = field(default_factory=dict)

    def namespace(self, name: str) -> str:
        """Return the namespace meant; empty means the controller's. Raises NotFound for another one."""
        own = self.leader.image.namespace
        if name not in ("", own):
            message = f"there is no namespace {name!r} here; this controller serves {own!r}"
            raise NotFound(message, reason="namespace-not-found", kind="namespace", name=name)
        return own

    def actor(self, context: Context) -> str:
        """Return who asks and from where: who it has shown to be; without identities, what it calls itself."""
        caller = self.callers.of(context)
        return (caller.name or caller.address) if caller.kind == "local" else str(caller)

    def authority(self) -> Authority:
        """Return what signs agents' certificates. Raises Refused where there is none."""
        if self.signer is None:
            message = "this controller signs no certificates; give it the authority's key (tls_ca_key)"
            raise Refused(message, reason="no-authority")
        return self.signer

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
