"""Payloads that programs outside push: MessagePack maps, which become items of a queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from treadle.queues.codec import MESSAGE_LIMIT
from treadle_controller.errors import InvalidRequest

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_PAIR: Final = b"\x92"  # an array of two: the payload, and
_NO_HEADERS: Final = b"\xc0"  # nil

_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


def items(
    payloads: Sequence[bytes], headers: Mapping[str, str] | None = None, *, field: str = "payloads"
) -> list[bytes]:
    """Return payloads as items, all with the same headers.

    Raises InvalidRequest for what is no map with text keys, or is above 1 MiB.
    """
    made, carried = [], _NO_HEADERS if headers is None else msgspec.msgpack.encode(headers)
    for index, payload in enumerate(payloads):
        try:
            _decode(payload)
        except _UNREADABLE as exc:
            message = f"message {index} is no MessagePack map: {exc}"
            raise InvalidRequest(message, field=f"{field}[{index}]", reason="bad-data") from exc
        item = b"".join((_PAIR, payload, carried))
        if len(item) > MESSAGE_LIMIT:
            message = f"message {index} has {len(item)} bytes; a message has at most {MESSAGE_LIMIT}"
            raise InvalidRequest(message, field=f"{field}[{index}]", reason="message-too-large")
        made.append(item)
    return made
