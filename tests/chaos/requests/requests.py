"""Requests that nobody would send: made of a seed, from the descriptors of what the server serves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from treadle_controller.api.server import served

SAMPLE: Final = json.loads(
    (Path(__file__).resolve().parents[3] / "deploy" / "workflows" / "host-metrics.json").read_text()
)
_TEXTS: Final = (
    *("", "default", "numbers", "feed", "out", "a1", "*", "/", "../../etc/passwd", "a" * 129, "x" * 20_000),
    *(
        "\x00",
        "\u202e",
        "😀" * 40,
        "%s%n",
        "'; DROP TABLE events; --",
        "host-metrics/sample/0",
        "-1",
        "NaN",
        "os:system",
    ),
)
_KNOWN: Final = {"namespace": "", "workflow": "numbers", "loop": "feed", "queue": "out", "page_token": ""}
_NUMBERS: Final = (0, 1, 2, -1, 7, 100, 1000, 2**31 - 1, -(2**31))
_LARGE: Final = (2**63 - 1, -(2**63), 2**53)
_FLOATS: Final = (0.0, -0.0, 1.5, -1.0, 1e308, float("inf"), float("-inf"), float("nan"))
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    2**63,
    1e400,
    "",
    "x",
    "$secret",
    [],
    {},
    [[]],
    {"$secret": 1},
    "a" * 5_000,
)
_MOST_DEPTH: Final = 5


@dataclass(frozen=True)
class Wrong:
    """One call: the messages of its request as bytes, whatever they hold."""

    method: str
    requests: tuple[bytes, ...]
    streams: bool  # whether the answer is a stream


def methods() -> list[MethodDescriptor]:
    """Return all methods that the server has, less those of health and reflection, which are gRPC's own."""
    pool: Any = Default()  # type: ignore[no-untyped-call] # it has no types
    services = [pool.FindServiceByName(name) for name in served() if name.startswith("treadle.")]
    return [method for service in services for method in service.methods]


def calls(seed: int, count: int) -> Iterator[Wrong]:
    """Yield so many calls, the same for the same seed."""
    chance, found = Random(seed), methods()
    for _ in range(count):
        method = chance.choice(found)
        many = chance.choice((1, 1, 2, 5)) if method.client_streaming else 1
        requests = tuple(_request(chance, method.input_type) for _ in range(many))
        yield Wrong(f"/{method.containing_service.full_name}/{method.name}", requests, method.server_streaming)


def _request(chance: Random, kind: Descriptor) -> bytes:
    how = chance.random()
    if how < 0.1:
        return chance.randbytes(chance.choice((0, 1, 2, 7, 64, 4_096)))
    encoded = message(chance, kind).SerializeToString()
    return _bitten(chance, encoded) if how < 0.35 else encoded


def _bitten(chance: Random, encoded: bytes) -> bytes:
    """Return bytes with some of them changed, dropped or said twice."""
    changed = bytearray(encoded)
    for _ in range(chance.randint(1, 4)):
        if not changed:
            break
        at = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randint(1, 8)]
            case _:
                changed[at:at] = changed[at : at + chance.randint(1, 8)]
    return bytes(changed)


def message(chance: Random, kind: Descriptor, depth: int = 0) -> Message:
    """Return a message with some of its fields set to something that fits their type, and nothing else."""
    made: Any = GetMessageClass(kind)()
    for field in kind.fields:
        if chance.random() < (0.3 if depth else 0.15) or depth >= _MOST_DEPTH:
            continue
        _set(chance, made, field, depth)
    return made  # type: ignore[no-any-return] # by its class


def _set(chance: Random, made: Any, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        made_map = getattr(made, field.name)
        if field.message_type.fields_by_name["value"].message_type is None:
            made_map[chance.choice(_TEXTS)[:200]] = chance.choice(_TEXTS)[:200]
    elif field.message_type is not None:
        for _ in range(chance.randint(1, 3) if field.is_repeated else 1):
            inner = message(chance, field.message_type, depth + 1)
            place = getattr(made, field.name).add() if field.is_repeated else getattr(made, field.name)
            place.CopyFrom(inner)
            if not field.is_repeated:
                place.SetInParent()
    elif field.is_repeated:
        getattr(made, field.name).extend(_value(chance, field) for _ in range(chance.randint(1, 3)))
    else:
        setattr(made, field.name, _value(chance, field))


def _value(chance: Random, field: FieldDescriptor) -> Any:
    wide = field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_INT32)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            if field.type == FieldDescriptor.TYPE_BYTES:
                return _bytes(chance, field.name)
            known = _KNOWN.get(field.name, "")
            return known if chance.random() < 0.6 and field.name in _KNOWN else chance.choice(_TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return chance.choice((*(one.number for one in field.enum_type.values), 77))
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return chance.choice(_FLOATS)
        case _:
            number = chance.choice((*_NUMBERS, *_LARGE) if wide else _NUMBERS)
            return number if signed else abs(number)


def _bytes(chance: Random, name: str) -> bytes:
    if name == "document":
        return document(chance)
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: chance.randbytes(chance.randint(0, 64)),
        lambda: msgspec.msgpack.encode({"n": chance.choice(_NUMBERS)}),
        lambda: msgspec.msgpack.encode([chance.choice(_TEXTS)]),
        lambda: b"\xdf\xff\xff\xff\xff",
    )
    return chance.choice(kinds)()


def document(chance: Random) -> bytes:
    """Return a workflow document that somebody, or a bug of his, has been at."""
    if chance.random() < 0.05:
        return chance.choice((b"", b"null", b"[]", b"{", b"[" * 5_000, b'{"nodes": {}}', b"\xff\xfe", b'{"a":1,"a":2}'))
    found = json.loads(json.dumps(SAMPLE))
    for _ in range(chance.randint(0, 4)):
        _change(chance, found)
    return json.dumps(found).encode("utf-8", "surrogatepass")


def _change(chance: Random, found: Any) -> None:
    """Change one thing somewhere in a document."""
    while True:
        keys = list(found) if isinstance(found, dict) else list(range(len(found)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(found[key], dict | list) and found[key] and chance.random() < 0.8:
            found = found[key]
            continue
        if chance.random() < 0.2:
            del found[key]
        elif isinstance(found, dict) and chance.random() < 0.3:
            found[chance.choice(_TEXTS)] = found[key]
        else:
            # A copy: what one document has changed must not be in the next, nor a list in itself.
            found[key] = copy.deepcopy(chance.choice((*_VALUES, *_TEXTS, found[key], [found[key]])))
        return
