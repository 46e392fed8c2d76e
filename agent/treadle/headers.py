"""The headers of a message: what travels with it, and what its reader learns from where it was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from treadle.data import _MappingStruct

ATTEMPT: Final = "attempt"  # which attempt of a node gets to see this, from 1
HANDLE: Final = "handle"  # on a tail queue: the handle of the Route that a non-blocking node returned
ORIGIN: Final = "origin"  # the id that a replayed message had at first
# These speak of one message in one queue: they end with it, all other headers go on with what is made of it.
_OWN: Final = frozenset({"id", "source", ATTEMPT, HANDLE, ORIGIN})


class MessageHeaders(msgspec.Struct, Mapping[str, Any], metaclass=_MappingStruct, frozen=True, eq=False):
    """The headers of a message that was read from a queue; the id is only put together when asked for.

    `prefix` is `<namespace>/<queue>/`, `carried` are the headers that travelled with the message.
    """

    prefix: str
    queue: str
    number: int
    carried: Mapping[str, Any] | None = None
    attempt: int = 1

    __hash__ = None  # type: ignore[assignment]

    @property
    def message_id(self) -> str:
        """`<namespace>/<queue>/<number>`."""
        return f"{self.prefix}{self.number}"

    @property
    def origin(self) -> str:
        """The id that the message had at first: its own, unless it was replayed."""
        carried = self.carried
        return self.message_id if carried is None else str(carried.get(ORIGIN) or self.message_id)

    def __getitem__(self, key: str) -> Any:
        if key == "id":
            return self.message_id
        if key == "source":
            return self.queue
        if key == ATTEMPT:
            return self.attempt
        if self.carried is None:
            raise KeyError(key)
        return self.carried[key]

    def __iter__(self) -> Iterator[str]:
        yield "id"
        yield "source"
        yield ATTEMPT
        yield from (key for key in self.carried or () if key not in {"id", "source", ATTEMPT})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)


def of_attempt(headers: Mapping[str, Any] | None, attempt: int) -> Mapping[str, Any]:
    """Return the headers that a node sees in a further attempt."""
    if type(headers) is MessageHeaders:
        return MessageHeaders(headers.prefix, headers.queue, headers.number, headers.carried, attempt)
    return {**(headers or {}), ATTEMPT: attempt}


def passed_on(headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the headers that a message made from data with these ones takes along, or None."""
    if headers is None:
        return None
    source = headers.carried if type(headers) is MessageHeaders else headers
    return {key: value for key, value in source.items() if key not in _OWN} or None if source else None
