"""NodeData and the other things that a node may return."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import StructMeta


class _MappingStruct(StructMeta, ABCMeta):
    """Lets a msgspec struct, which is made in C, be a Mapping too: half the cost of a class with `__init__`."""


class NodeData(msgspec.Struct, Mapping[str, Any], metaclass=_MappingStruct, frozen=True, eq=False):
    """One message on its way through a loop: a payload, read-only at the top, and its headers.

    `payload` maps names to JSON-like values and bytes. `headers` carries trace context, message id
    and source, and is None when there is nothing to carry.
    """

    payload: Mapping[str, Any]
    headers: Mapping[str, Any] | None = None

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: str) -> Any:
        return self.payload[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.payload)

    def __len__(self) -> int:
        return len(self.payload)

    def __contains__(self, key: object) -> bool:
        return key in self.payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.payload) == dict(other)

    def __repr__(self) -> str:
        return f"NodeData({self.payload!r})"

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        return self.payload.get(key, default)

    def replace(self, **changes: Any) -> NodeData:
        """Return a NodeData with some keys added or changed, and the same headers."""
        return NodeData({**self.payload, **changes}, self.headers)


@dataclass(frozen=True, slots=True)
class Route:
    """Sends data along the edges whose `sourceHandle` is `handle`."""

    handle: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Idle:
    """A producer had no work; ask again after so many seconds."""

    after: float


class EndIteration:
    """Ends the iteration here: what it pushed so far is committed."""

    __slots__ = ()


class LoopComplete:
    """Returned by a producer: there will never be more work."""

    __slots__ = ()


ERROR_HANDLE: Final = "error"
