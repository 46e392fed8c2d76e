"""The journal: what changed, why and by whom; streamed at once, written a moment later."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import Final

from treadle_controller.store.records import EventRecord

_log = logging.getLogger(__name__)
_REMEMBERED: Final = 1_000  # events in memory, for streams that lag


class Journal:
    """Appends events and lets streams follow them; whoever owns it writes them (`wait_unsaved`, `take_unsaved`)."""

    def __init__(self, namespace: str, last: int) -> None:
        self._namespace = namespace
        self._last = last
        self._unsaved: list[EventRecord] = []
        self._recent: deque[EventRecord] = deque(maxlen=_REMEMBERED)
        self._added = asyncio.Event()
        self._to_save = asyncio.Event()
        self._to_save_soon = asyncio.Event()

    @property
    def last(self) -> int:
        return self._last

    def add(
        self, kind: str, name: str, code: str, message: str, *, workflow: str = "", actor: str = "controller"
    ) -> None:
        """Append an event about one object; `workflow` is the one that it belongs to, if any."""
        self._last += 1
        _log.log(logging.DEBUG if kind == "loop" else logging.INFO, "%s %s: %s: %s", kind, name, code, message)
        record = EventRecord(self._last, time.time(), kind, name, self._namespace, workflow, code, message, actor)
        self._unsaved.append(record)
        self._recent.append(record)
        if not self._added.is_set():
            self._added.set()
        if not self._to_save.is_set():
            self._to_save.set()
        if kind != "loop":
            self._to_save_soon.set()  # these are few, and what people did is among them

    def take_unsaved(self) -> list[EventRecord]:
        taken, self._unsaved = self._unsaved, []
        self._to_save.clear()
        self._to_save_soon.clear()
        return taken

    async def wait_unsaved(self, gather_s: float) -> None:
        """Wait until there is something to write; events of loops, of which thousands may come, are gathered."""
        await self._to_save.wait()
        try:
            async with asyncio.timeout(gather_s):
                await self._to_save_soon.wait()
        except TimeoutError:
            return

    async def follow(self, after: int) -> AsyncIterator[EventRecord]:
        """Yield events after a sequence as they happen; one that lags too far skips the oldest."""
        while True:
            for record in [one for one in self._recent if one.sequence > after]:
                after = record.sequence
                yield record
            if self._last <= after:
                self._added.clear()  # whoever waits already was woken by the one before
                await self._added.wait()

    def last_of(self, name: str, codes: Collection[str]) -> EventRecord | None:
        """Return the newest event of an object with one of some codes, None when none is in memory."""
        return next((one for one in reversed(self._recent) if one.name == name and one.code in codes), None)

    def oldest_in_memory(self) -> int:
        return self._recent[0].sequence if self._recent else self._last + 1
