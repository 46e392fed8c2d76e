"""Who calls, from a call's context: its connection's certificate, else a token in its metadata."""

from __future__ import annotations

from typing import Any, Final

from grpc import aio

from treadle_controller.access.caller import Caller, Role
from treadle_controller.access.door import Door
from treadle_controller.access.identities import Identities
from treadle_controller.errors import Unauthenticated

_AUTHORIZATION: Final = "authorization"
_BEARER: Final = "bearer "
_ACTOR: Final = "treadle-actor"
_MOST_ACTOR: Final = 128
Context = aio.ServicerContext[Any, Any]


class Callers:
    """Without a door (plain text on this machine, or wherever `insecure` says so) everybody is local, and may all."""

    def __init__(self, identities: Identities, namespace: str, door: Door | None) -> None:
        self._identities = identities
        self._namespace = namespace
        self._door = door

    def of(self, context: Context) -> Caller:
        """Return who calls. Raises Unauthenticated for what was revoked, has expired or is not known."""
        if self._door is None:
            return Caller("local", _metadata(context, _ACTOR)[:_MOST_ACTOR], address=context.peer())
        caller = self._door.caller(context.peer())
        if caller is None:
            raise Unauthenticated("this connection did not come through the door", reason="no-identity")
        if caller.kind == "nobody":
            authorization = _metadata(context, _AUTHORIZATION)
            if authorization.lower().startswith(_BEARER):
                caller = self._identities.bearer(authorization[len(_BEARER) :].strip(), caller.address)
        self._identities.check(caller)
        return caller

    def seen(self, context: Context) -> Caller:
        """Return who is at the other end by its connection alone, good or not: for the audit."""
        found = None if self._door is None else self._door.caller(context.peer())
        return found or Caller("nobody", address=context.peer())

    def role(self, caller: Caller) -> Role:
        """Return what a caller is in the namespace that this controller leads."""
        return caller.role(self._namespace)


def _metadata(context: Context, wanted: str) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == wanted and isinstance(value, str):
            return value
    return ""
