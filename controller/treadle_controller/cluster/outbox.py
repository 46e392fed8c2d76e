"""Outbox: changes for one agent, numbered and sent in batches.

The first change after a calm moment goes at once; while they keep coming, they are gathered for `window_s` or until
there are `most` of them. A later change of the same replica replaces an earlier one that was not sent yet.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Numbered(Generic[T]):
    """Changes that lead from one version of the agent's set to the next."""

    applies_to: int
    results_in: int
    changes: tuple[T, ...]


class Outbox(Generic[T]):
    """See the module."""

    def __init__(self, *, window_s: float = 0.05, most: int = 100) -> None:
        self._window_s = window_s
        self._most = most
        self._version = 0
        self._waiting: dict[Hashable, T] = {}
        self._sent_at = float("-inf")

    @property
    def version(self) -> int:
        """The version of the set that was taken last."""
        return self._version

    def complete(self, now: float) -> int:
        """Begin anew with a full set: what waited is in it. Returns its version."""
        self._waiting.clear()
        self._sent_at = now
        self._version += 1
        return self._version

    def offer(self, key: Hashable, change: T) -> None:
        self._waiting.pop(key, None)
        self._waiting[key] = change

    def due(self, now: float) -> float | None:
        """Return when the next batch may go, None when nothing waits."""
        if not self._waiting:
            return None
        return now if len(self._waiting) >= self._most else max(now, self._sent_at + self._window_s)

    def take(self, now: float) -> Numbered[T]:
        """Return the next batch, in the order of the changes."""
        keys = list(self._waiting)[: self._most]
        changes = tuple(self._waiting.pop(key) for key in keys)
        before, self._version, self._sent_at = self._version, self._version + 1, now
        return Numbered(before, self._version, changes)
