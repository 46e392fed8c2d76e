"""The controller's store on a simulated disk: real tables in SQLite, slow and sudden death between commit and answer.

`Disk` outlives controllers. `DiskStore` is one controller's way to it, with the methods of Store: what it handed in
and the disk did not get to is gone with the controller.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import StaticPool

from tests.chaos.cluster.clockwork import Process
from treadle_controller.store.schema import METADATA

T = TypeVar("T")


@functools.lru_cache(maxsize=1)
def _engine() -> Engine:
    """Return the one database of this process; making one anew for each seed would cost more than the seed."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    METADATA.create_all(engine)
    return engine


class Disk:
    """A database. `slow_s` is how long a transaction may take now."""

    def __init__(self, chance: Random) -> None:
        self.slow_s = 0.005
        self.epoch = 0  # the last epoch that is on disk
        self.chance = chance
        self._connection = _engine().connect()
        with self._connection.begin():
            for table in reversed(METADATA.sorted_tables):
                self._connection.execute(table.delete())

    def transact(self, writes: list[Callable[[Connection], Any]]) -> list[Any]:
        with self._connection.begin():
            results = [write(self._connection) for write in writes]
            found = self._connection.execute(_EPOCH).scalar()
        self.epoch = found or 0
        return results

    def read(self, read: Callable[[Connection], T]) -> T:
        with self._connection.begin():
            return read(self._connection)

    def close(self) -> None:
        self._connection.close()


_EPOCH = text("SELECT value FROM counters WHERE name = 'epoch'")


class DiskStore:
    """The store of one controller process. One transaction at a time takes all that waits."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._waiting: deque[tuple[Callable[[Connection], Any], asyncio.Future[Any]]] = deque()
        self._busy = False

    async def write(self, write: Callable[[Connection], T]) -> T:
        future: asyncio.Future[T] = self._process.create_future()
        self._waiting.append((write, future))
        self._begin()
        return await future

    async def read(self, read: Callable[[Connection], T]) -> T:
        return self._disk.read(read)

    def _begin(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        batch = list(self._waiting)
        self._waiting.clear()
        self._process.call_later(self._disk.slow_s * self._disk.chance.random(), self._commit, batch)

    def _commit(self, batch: list[tuple[Callable[[Connection], Any], asyncio.Future[Any]]]) -> None:
        results = self._disk.transact([write for write, _ in batch])
        # From here on it is on disk, whether or not anybody lives to hear of it.
        self._process.call_later(0.001, self._answer, [future for _, future in batch], results)

    def _answer(self, futures: list[asyncio.Future[Any]], results: list[Any]) -> None:
        self._busy = False
        for future, result in zip(futures, results, strict=True):
            if not future.done():
                future.set_result(result)
        self._begin()
