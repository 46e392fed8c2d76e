"""Columns that hold JSON, and what they are made of."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.workflow.plan import Compiled, Plan, Queue

_encoder = msgspec.json.Encoder()
_compiled = msgspec.json.Decoder(Compiled)
_queue = msgspec.json.Decoder(Queue)


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def encode_text(value: Any) -> str:
    return _encoder.encode(value).decode()


def encode_plans(compiled: Compiled) -> tuple[bytes, list[tuple[Plan, bytes]]]:
    """Return a compiled workflow as JSON, and each of its plans, every one encoded once."""
    plans = [(plan, _encoder.encode(plan)) for plan in compiled.plans]
    fields = {name: getattr(compiled, name) for name in compiled.__dataclass_fields__}
    return _encoder.encode({**fields, "plans": [msgspec.Raw(encoded) for _, encoded in plans]}), plans


def decode(text: str | bytes) -> Any:
    return msgspec.json.decode(text)


def decode_compiled(data: bytes) -> Compiled:
    return _compiled.decode(data)


def decode_queue(text: str) -> Queue:
    return _queue.decode(text)
