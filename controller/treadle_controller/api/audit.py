"""The audit: who changed or wanted to change what, when and from where.

Every call of an audited RPC is a line of the log `treadle_controller.audit`. Refusals are events, too, so that `wfctl
events` shows them; the same one again within a minute is only counted, for whoever knocks must not push out of the
journal what others did.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from treadle_controller.access.caller import Caller
from treadle_controller.errors import Refused
from treadle_controller.leader.journal import Journal

_log = logging.getLogger("treadle_controller.audit")
_QUIET_S: Final = 60.0
_MOST_KNOWN: Final = 1_000
_TOLD: Final = (
    "namespace",
    "name",
    "workflow",
    "loop",
    "queue",
    "id",
    "replicas",
    "to_revision",
    "role",
    "validate_only",
)
_MOST_TEXT: Final = 128


class Audit:
    """See the module."""

    def __init__(self, journal: Journal, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._name = name
        self._clock = clock
        self._told: dict[tuple[str, ...], tuple[float, int]] = {}  # refusals: when last told, and how many since

    def called(self, caller: Caller, method: str, request: Message | None, outcome: str) -> None:
        """Write down a call of an audited method."""
        _log.info("%s: %s%s: %s", caller, method.rpartition("/")[2], _told(request), outcome)

    def refused(self, caller: Caller, method: str, exc: Refused) -> None:
        """Write down that a call was refused."""
        name = method.rpartition("/")[2]
        _log.warning("%s: %s: refused: %s", caller, name, exc.message)
        self._event("access-refused", caller, f"{name}: {exc.reason}: {exc.message}", name, exc.reason)

    def turned_away(self, address: str, why: str) -> None:
        """Write down that a connection was refused: no certificate of ours, or one that is over."""
        caller = Caller("nobody", address=address)
        _log.warning("%s: connection refused: %s", caller, why)
        self._event("connection-refused", caller, f"connection refused: {why}", why)

    def lied(self, agent: str, address: str, what: str) -> None:
        """Write down that an agent spoke for another."""
        caller = Caller("agent", agent, address=address)
        _log.warning("%s: session ended: %s", caller, what)
        self._event("access-refused", caller, f"Session: speaks-for-another: {what}", what)

    def _event(self, code: str, caller: Caller, message: str, *about: str) -> None:
        host = caller.address.rpartition(":")[0]
        key = (code, caller.kind, caller.name, host, *about)
        now = self._clock()
        last, missed = self._told.get(key, (float("-inf"), 0))
        if now - last < _QUIET_S:
            self._told[key] = (last, missed + 1)
            return
        if len(self._told) >= _MOST_KNOWN:
            self._told = {one: seen for one, seen in self._told.items() if now - seen[0] < _QUIET_S}
        self._told[key] = (now, 0)
        again = f" ({missed} times more in the last minutes)" if missed else ""
        self._journal.add("controller", self._name, code, f"{message}{again}", actor=str(caller))


def _told(request: Message | None) -> str:
    """Return the names in a request: never documents, messages or tokens."""
    if request is None:
        return ""
    target = getattr(request, "target", None)
    found = [*_fields(request), *(_fields(target) if isinstance(target, Message) else ())]
    return "".join(f" {name}={value}" for name, value in found)


def _fields(message: Message) -> list[tuple[str, str]]:
    known = message.DESCRIPTOR.fields_by_name
    values = [(name, getattr(message, name)) for name in _TOLD if name in known]
    return [(name, repr(value)[:_MOST_TEXT]) for name, value in values if value]
