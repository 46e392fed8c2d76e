"""How payloads, messages and state values become bytes and come back: MessagePack, never pickle.

An item is `[payload, headers | nil]`. What can't be decoded as that becomes a BadItem with a reason, and the
items beside it in a record batch are saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from treadle.data import NodeData
from treadle.errors import MessageTooLarge, NotEncodable
from treadle.headers import ORIGIN
from treadle.queues.tenure import BadItem
from treadle.telemetry.conventions import TRACEPARENT

MESSAGE_LIMIT: Final = 1024 * 1024

_Item = tuple[dict[str, Any], dict[str, Any] | None]


def _plain(value: Any) -> Any:
    """Turn what the encoder doesn't know into what it does."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | range):
        return list(value)
    message = f"a {type(value).__name__} has no JSON-like form"
    raise TypeError(message)


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder().decode
_decode_item: Callable[[bytes], _Item] = msgspec.msgpack.Decoder(_Item).decode
_decode_batch = msgspec.msgpack.Decoder(list[_Item]).decode
_split_batch = msgspec.msgpack.Decoder(list[Raw]).decode

# For callers that look at the size themselves, and ask `encode_item` what is wrong when this raises.
encode_quickly: Final[Callable[[tuple[Mapping[str, Any], None]], bytes]] = _encode

_UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


def encode(value: Any) -> bytes:
    """Encode one value. Raises NotEncodable."""
    try:
        return _encode(value)
    except _UNENCODABLE as exc:
        raise NotEncodable(f"{exc}; use mappings, lists, strings, numbers, booleans, null and bytes") from exc


def decode(raw: bytes) -> Any:
    """Decode one value that `encode` made."""
    return _decode(raw)


def copy(data: NodeData) -> NodeData:
    """Return data that shares nothing with the given one but its headers. Raises NotEncodable."""
    return NodeData(_decode(encode(bare(data))), data.headers)


def bare(data: Any) -> Any:
    """Return the mapping inside NodeData, and anything else as it is."""
    return data.payload if type(data) is NodeData else data


def encode_item(payload: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> bytes:
    """Encode one message. Raises NotEncodable, and MessageTooLarge above 1 MiB."""
    try:
        item = _encode((payload, headers))
    except _UNENCODABLE as exc:
        raise NotEncodable(f"{exc}; use mappings, lists, strings, numbers, booleans, null and bytes") from exc
    if len(item) > MESSAGE_LIMIT:
        message = f"a message of {len(item)} bytes is above the limit of {MESSAGE_LIMIT}"
        raise MessageTooLarge(message, bytes=len(item), limit=MESSAGE_LIMIT)
    return item


def encode_buried(item: Any, message_id: str, traceparent: str | None = None) -> bytes:
    """Encode a message, as it was decoded, for the dead letters: it takes along the id that it had at first.

    And the trace that it died in, unless it came with one of its own.

    So effects that it had before it died are known again when it is replayed. What can't be decoded stays as it is.
    """
    if type(item) is BadItem:
        return item.raw
    payload, headers = item
    added = {ORIGIN: message_id} if traceparent is None else {ORIGIN: message_id, TRACEPARENT: traceparent}
    return _encode((payload, {**added, **(headers or {})}))


def decode_item(raw: bytes) -> _Item | BadItem:
    """Decode one message; what is not `[payload, headers | nil]` becomes a BadItem."""
    try:
        return _decode_item(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return BadItem(str(exc), bytes(raw))


def decode_batch(array: bytes, count: int) -> list[_Item] | list[_Item | BadItem]:
    """Decode the array of a record batch that should hold `count` messages.

    Never raises: a bad item takes its own place, an array that is no array gives `count` bad items.
    """
    try:
        items = _decode_batch(array)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _salvage(array, count)
    return items if len(items) == count else _salvage(array, count)


def _salvage(array: bytes, count: int) -> list[_Item | BadItem]:
    try:
        raws = _split_batch(array)
    except (msgspec.MsgspecError, RecursionError) as exc:
        return [BadItem(f"the record batch can't be read: {exc}", bytes(array))] * count
    if len(raws) != count:
        return [BadItem(f"the record batch holds {len(raws)} messages, not {count}", bytes(array))] * count
    return [decode_item(bytes(raw)) for raw in raws]
