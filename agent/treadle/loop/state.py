"""`self.state` of a node: encoded when it is assigned, copied when it is read, kept or dropped with the iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Final, NoReturn

from treadle.errors import NotEncodable, StateTooLarge, UndeclaredState
from treadle.queues.codec import decode, encode

KEY_LIMIT: Final = 1024 * 1024
NODE_LIMIT: Final = 64 * 1024 * 1024
VERSION_KEY: Final = "~version"  # where the state_version of what is stored is kept; unset means 1


class NodeState(MutableMapping[str, Any]):
    """One node's state. `touch` is called with this object on the first change of an iteration."""

    __slots__ = ("_before", "_node", "_size", "_touch", "_undo", "_values", "_version")

    def __init__(
        self, node: str, values: dict[str, bytes], touch: Callable[[NodeState], None], version: int = 1
    ) -> None:
        stored = values.get(VERSION_KEY)
        self._node = node
        self._values = {key: value for key, value in values.items() if key != VERSION_KEY}
        self._size = sum(len(key) + len(value) for key, value in self._values.items())
        self._touch = touch
        self._version = None if (1 if stored is None else decode(stored)) == version else encode(version)
        self._before: dict[str, bytes | None] = {}  # what the keys changed in this iteration were before it
        self._undo: dict[str, bytes | None] | None = None  # the same for an execution, where one may follow another

    def __getitem__(self, key: str) -> Any:
        return decode(self._values[key])

    def get(self, key: str, default: Any = None) -> Any:
        """Return a copy of a value, or the default."""
        value = self._values.get(key)
        return default if value is None else decode(value)

    def __setitem__(self, key: str, value: Any) -> None:
        encoded = encode(value)
        self._check_key(key, encoded)
        self._store(key, encoded)

    def __delitem__(self, key: str) -> None:
        if key not in self._values:
            raise KeyError(key)
        self._store(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def changes(self) -> dict[tuple[str, str], bytes | None]:
        """Return the keys that this iteration changed, encoded; None for those it deleted."""
        changed: dict[tuple[str, str], bytes | None] = {
            (self._node, key): self._values.get(key) for key in self._before
        }
        if self._version is not None:
            changed[self._node, VERSION_KEY] = self._version
        return changed

    def keep(self) -> None:
        """Make this iteration's changes the ground that the next one stands on."""
        self._before.clear()
        self._version = self._undo = None

    def drop(self) -> None:
        """Undo what this iteration changed."""
        for key, value in self._before.items():
            self._replace(key, value)
        self._before.clear()
        self._undo = None

    def mark(self) -> None:
        """Begin an execution that may not be the iteration's first: `undo` goes back to here."""
        self._undo = {}

    def undo(self) -> bool:
        """Undo what the last execution changed; without a mark it was the only one. Tells whether any change stays."""
        if self._undo is None:
            self.drop()
            return False
        for key, value in self._undo.items():
            self._replace(key, value)
            if key in self._before and self._before[key] == value:
                del self._before[key]
        self._undo = {}
        return bool(self._before)

    def _store(self, key: str, encoded: bytes | None) -> None:
        before = self._values.get(key)
        grown = _weight(key, encoded) - _weight(key, before)
        if grown > 0 and self._size + grown > NODE_LIMIT:
            message = f"the state of {self._node} is above the limit of {NODE_LIMIT} bytes"
            raise StateTooLarge(message, node=self._node, limit=NODE_LIMIT)
        if not self._before:
            self._touch(self)
        self._before.setdefault(key, before)
        if self._undo is not None:
            self._undo.setdefault(key, before)
        self._replace(key, encoded)

    def _replace(self, key: str, encoded: bytes | None) -> None:
        self._size += _weight(key, encoded) - _weight(key, self._values.get(key))
        if encoded is None:
            self._values.pop(key, None)
        else:
            self._values[key] = encoded

    def _check_key(self, key: str, encoded: bytes) -> None:
        if not isinstance(key, str) or key == VERSION_KEY:
            message = f"{key!r} can't be a key of a node's state: use strings"
            raise NotEncodable(message, node=self._node)
        if len(encoded) > KEY_LIMIT:
            message = f"state {key!r} of {self._node} has {len(encoded)} bytes, above the limit of {KEY_LIMIT}"
            raise StateTooLarge(message, node=self._node, key=key, bytes=len(encoded), limit=KEY_LIMIT)


def _weight(key: str, encoded: bytes | None) -> int:
    return 0 if encoded is None else len(key) + len(encoded)


class NoState(MutableMapping[str, Any]):
    """What a node finds that does not declare `stateful = True`: every use says so."""

    __slots__ = ("_node",)

    def __init__(self, node: str) -> None:
        self._node = node

    def _refuse(self) -> NoReturn:
        message = f"{self._node} uses self.state: its class must declare stateful = True"
        raise UndeclaredState(message, node=self._node)

    def __getitem__(self, key: str) -> Any:
        self._refuse()

    def __setitem__(self, key: str, value: Any) -> None:
        self._refuse()

    def __delitem__(self, key: str) -> None:
        self._refuse()

    def __iter__(self) -> Iterator[str]:
        self._refuse()

    def __len__(self) -> int:  # noqa: PLE0303 - it always raises
        self._refuse()
