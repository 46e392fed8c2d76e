"""Dead letters on the wire, for QueueService."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from treadle.queues.codec import decode_item
from treadle.queues.stats import DeadLetterEntry
from treadle.queues.tenure import BadItem
from treadle.v1 import loop_pb2, queue_pb2
from treadle_controller.api import convert
from treadle_controller.errors import InvalidRequest

_KNOWN: Final = frozenset(
    {"code", "error", "type", "message", "node", "traceback", "attempts", "revision", "iteration"}
)


def message(namespace: str, queue: str, letter: DeadLetterEntry) -> queue_pb2.DeadLetter:
    """Return a dead letter as clients see it."""
    reason = letter.reason
    shown = queue_pb2.DeadLetter(
        id=letter.id,
        namespace=namespace,
        queue=queue,
        number=letter.number,
        message_id=f"{namespace}/{queue}/{letter.number}" if letter.number else "",
        iteration=letter.iteration,
        reason=loop_pb2.Reason(
            code=str(reason.get("code") or reason.get("error") or ""),
            message=str(reason.get("message") or _rest(reason)),
            node=str(reason.get("node") or ""),
            traceback=str(reason.get("traceback") or ""),
        ),
        error=str(reason.get("type") or reason.get("error") or ""),
        attempts=_number(reason.get("attempts")),
        revision=_number(reason.get("revision")),
        dead_time=convert.timestamp(int(letter.id.partition("-")[0]) / 1000),
        trace_id=str(reason.get("trace_id") or ""),
    )
    _put_item(shown, letter)
    return shown


def judge(name: str, *, all_of_them: bool) -> None:
    """Refuse a request that names neither one nor all, or both."""
    if bool(name) == all_of_them:
        raise InvalidRequest("give the id of a dead letter or of an iteration, or say all", field="id")


def _put_item(shown: queue_pb2.DeadLetter, letter: DeadLetterEntry) -> None:
    item = decode_item(letter.item) if letter.number else BadItem("no message", letter.item)
    if isinstance(item, BadItem):
        shown.raw = letter.item
        return
    shown.payload = msgspec.msgpack.encode(item[0])
    shown.headers = msgspec.msgpack.encode(item[1] or {})


def _rest(reason: dict[str, Any]) -> str:
    """Return what else a reason says, for people."""
    rest = {key: value for key, value in reason.items() if key not in _KNOWN}
    return json.dumps(rest, sort_keys=True) if rest else ""


def _number(value: object) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0
