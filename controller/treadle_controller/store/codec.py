"""Columns that hold JSON, and what they are made of."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.workflow.plan import Compiled, Queue

_encoder = msgspec.json.Encoder()
_compiled = msgspec.json.Decoder(Compiled)
_queue = msgspec.json.Decoder(Queue)


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def encode_text(value: Any) -> str:
    return _encoder.encode(value).decode()


def decode(text: str | bytes) -> Any:
    return msgspec.json.decode(text)


def decode_compiled(data: bytes) -> Compiled:
    return _compiled.decode(data)


def decode_queue(text: str) -> Queue:
    return _queue.decode(text)
