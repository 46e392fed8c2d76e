"""The later parts of one round on their way to the disk, one ahead of what is done with them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from treadle_controller.cluster.model import ReplicaId

Part = list[ReplicaId]


class WriteAhead:
    """See the module. `write` writes one part."""

    def __init__(self, parts: Iterable[Part], write: Callable[[Part], Coroutine[Any, Any, None]]) -> None:
        self._left = deque(parts)
        self._write = write
        self._writing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to write the next part, if there is one and none is under way."""
        if self._left and self._writing is None:
            self._writing = asyncio.create_task(self._write(self._left[0]), name="part of a round")

    async def written(self) -> AsyncIterator[Part]:
        """Yield each part once it is on disk; the next one is being written meanwhile."""
        while self._left:
            self.begin()
            if self._writing is not None:
                await self._writing
            self._writing = None
            part = self._left.popleft()
            self.begin()
            yield part

    def end(self) -> None:
        """Write no more: the round is over, or came to a bad end."""
        if self._writing is not None:
            self._writing.cancel()
