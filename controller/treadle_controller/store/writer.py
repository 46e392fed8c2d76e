"""The one thread that writes: everything that waits goes into one transaction, and is told when it is on disk."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

from sqlalchemy import Connection, Engine

_log = logging.getLogger(__name__)
_MOST: Final = 256  # writes in one transaction

Write = Callable[[Connection], Any]


@dataclass(slots=True)
class _Job:
    write: Write
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def finish(self, result: Any, error: Exception | None) -> None:
        self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Writer:
    """See the module. `write` may be called from the event loop only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.guard: Write | None = None  # looks at the beginning of each transaction whether we may write
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish what was handed in, then end."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    async def write(self, write: Write) -> Any:
        """Run a function on the writer's connection; returns its result once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(_Job(write, loop, future))
        return await future

    def _run(self) -> None:
        with self._engine.connect() as connection:
            while (batch := self._gather()) is not None:
                self._commit(connection, batch)

    def _gather(self) -> list[_Job] | None:
        job = self._jobs.get()
        if job is None:
            return None
        batch = [job]
        while len(batch) < _MOST and not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)  # for the next round, after this batch
                break
            batch.append(job)
        return batch

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        try:
            with connection.begin():
                if self.guard is not None:
                    self.guard(connection)
                results = [job.write(connection) for job in batch]
        except Exception as exc:  # noqa: BLE001 - whatever went wrong belongs to whoever asked for it
            if len(batch) == 1:
                batch[0].finish(None, exc)
                return
            _log.warning("a transaction of %d writes failed (%s); each is tried alone", len(batch), exc)
            for job in batch:
                self._commit(connection, [job])
            return
        for job, result in zip(batch, results, strict=True):
            job.finish(result, None)
