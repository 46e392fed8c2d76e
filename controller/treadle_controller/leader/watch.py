"""Watchers: who wants to know that a workflow changed. States are told at once, figures are only counted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Watcher:
    """One watcher of one workflow."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._figures = False

    def tell(self, *, state: bool) -> None:
        self._figures = True
        if state:
            self._changed.set()

    async def wait(self, figures_after_s: float) -> None:
        """Return at once on a change of state, or after a while when only figures changed."""
        while True:
            try:
                async with asyncio.timeout(figures_after_s):
                    await self._changed.wait()
            except TimeoutError:
                if not self._figures:
                    continue
            self._changed.clear()
            self._figures = False
            return


class Watchers:
    """All watchers, by workflow."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)

    @contextmanager
    def watch(self, workflow: str) -> Iterator[Watcher]:
        watcher = Watcher()
        self._watchers[workflow].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[workflow].discard(watcher)
            if not self._watchers[workflow]:
                del self._watchers[workflow]

    def state_changed(self, workflow: str) -> None:
        for watcher in self._watchers.get(workflow, ()):
            watcher.tell(state=True)

    def figures_changed(self, workflow: str) -> None:
        for watcher in self._watchers.get(workflow, ()):
            watcher.tell(state=False)
