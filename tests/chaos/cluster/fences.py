"""Redis as the control plane sees it: who may commit. The checks of assign, incarnate and commit are those of the Lua.

`Fences` is the server. `Admin` is one controller's connection to it, with the methods of QueueAdmin that a leader
calls. That the fences are those of the library is shown beside a real server in `test_fences`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from treadle.errors import QueueError
from treadle.queues.check import ServerReport
from treadle.queues.library import Move
from treadle.queues.stats import QueueStats
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import QueueLimits

_REPORT: Final = ServerReport("simulated", "8.0", "aof", "noeviction", 0, None, ())
_TIMEOUT_S: Final = 0.5


@dataclass(slots=True)
class Hold:
    """What is stored of one loop."""

    epoch: int = 0
    inc: int = 0
    nonce: str = ""  # of whoever incarnated it last
    assigned: str = ""  # of the call that assigned it
    iteration: int = 0
    completed: bool = False


class Witness(Protocol):
    """Who is told what happened here, in the order in which it happened."""

    def assigned(self, key: LoopKey, epoch: int) -> None: ...

    def incarnated(self, key: LoopKey, epoch: int, inc: int, run: str) -> None: ...

    def committed(self, key: LoopKey, epoch: int, inc: int, run: str) -> None: ...


@dataclass(slots=True)
class Fences:
    """The server."""

    witness: Witness
    id: str = "redis-1"
    term: int = 0
    beats: int = 0
    holds: dict[LoopKey, Hold] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    slots: dict[str, tuple[LoopKey, ...]] = field(default_factory=dict)

    def assign(self, loops: Iterable[tuple[LoopKey, int]], term: int, nonce: str) -> dict[LoopKey, int] | None:
        """Make epochs current; returns those refused with the stored one, None when a newer controller leads."""
        if term < self.term:
            return None
        self.term = term
        refused = {}
        for key, epoch in loops:
            hold = self.holds.setdefault(key, Hold())
            if epoch > hold.epoch:
                hold.epoch, hold.inc, hold.assigned = epoch, 0, nonce
                self.witness.assigned(key, epoch)
            elif epoch != hold.epoch or nonce != hold.assigned:
                refused[key] = hold.epoch
        return refused

    def incarnate(self, key: LoopKey, epoch: int, inc: int, nonce: str) -> int | None:
        """Take a tenure from the one numbered `inc`; returns the new number, None when fenced."""
        hold = self.holds.setdefault(key, Hold())
        if hold.epoch != epoch:
            return None
        if hold.inc == inc:
            hold.inc, hold.nonce = inc + 1, nonce
            self.witness.incarnated(key, epoch, hold.inc, nonce)
        elif hold.nonce != nonce or hold.inc != inc + 1:
            return None
        return hold.inc

    def commit(self, key: LoopKey, epoch: int, inc: int, run: str, *, completed: bool = False) -> bool:
        """Commit one iteration; false when fenced."""
        hold = self.holds.setdefault(key, Hold())
        if not self._may_commit(hold, epoch, inc):
            return False
        hold.iteration += 1
        hold.completed = hold.completed or completed
        self.witness.committed(key, epoch, inc, run)
        return True

    def _may_commit(self, hold: Hold, epoch: int, inc: int) -> bool:
        return (hold.epoch, hold.inc) == (epoch, inc)


class Admin:
    """See the module. `reaches` says whether the server can be reached now."""

    def __init__(self, fences: Fences, chance: Random, reaches: Callable[[], bool]) -> None:
        self._fences = fences
        self._chance = chance
        self._reaches = reaches
        self._calls = 0

    async def close(self) -> None:
        pass

    async def load_functions(self) -> Move:
        await self._trip()
        return Move.NONE

    async def check_server(self) -> ServerReport:
        await self._trip()
        return _REPORT

    async def run_id(self) -> str:
        return _REPORT.run_id

    async def renew_log(self, found: ServerReport) -> bool:
        return False

    async def namespace_id(self) -> str:
        await self._trip()
        return self._fences.id

    async def beat(self, term: int) -> tuple[int, str]:
        await self._trip()
        if term < self._fences.term:
            raise QueueError("Another controller leads", reason="DEPOSED")
        self._fences.term = term
        self._fences.beats += 1
        return self._fences.beats, self._fences.id

    async def assign(self, loops: Sequence[tuple[LoopKey, int]], term: int) -> dict[LoopKey, int]:
        self._calls += 1
        await self._trip()
        refused = self._fences.assign(loops, term, f"{term}.{self._calls}")
        await self._trip()  # the answer may be lost when all is done
        if refused is None:
            raise QueueError("Another controller leads", reason="DEPOSED")
        return refused

    async def scale(
        self, epochs: Sequence[tuple[LoopKey, int]], queues: Mapping[str, Sequence[LoopKey]], term: int
    ) -> None:
        await self.assign(epochs, term)
        self._fences.slots |= {name: tuple(slots) for name, slots in queues.items() if slots}

    async def slots(self, queues: Sequence[str]) -> dict[str, tuple[LoopKey, ...]]:
        await self._trip()
        return {name: self._fences.slots[name] for name in queues if name in self._fences.slots}

    async def mirror(self, queues: Mapping[str, bytes], *, whole: bool = False) -> None:
        await self._trip()

    async def forget(self, *keys: LoopKey) -> None:
        if keys:
            await self._trip()
        for key in keys:
            hold = self._fences.holds.setdefault(key, Hold())
            hold.completed, hold.iteration = False, 0

    async def reopen(self, key: LoopKey) -> None:
        await self._trip()
        self._fences.holds.setdefault(key, Hold()).completed = False

    async def enter_writers(self, queues: Mapping[str, Any], drop: Mapping[str, Any] | None = None) -> None:
        await self._trip()

    async def set_limits(self, limits: Mapping[str, QueueLimits]) -> None:
        await self._trip()

    async def depths(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        await self._trip()
        return {name: QueueStats(self._fences.depths.get(name, 0), 0, 0, None, 0, 0, 0, 0, 1) for name in queues}

    async def delete(self, *queues: str) -> None:
        await self._trip()

    async def _trip(self) -> None:
        """Go there or back: it takes a moment, and fails when the server can't be reached."""
        await asyncio.sleep(0.0002 + 0.001 * self._chance.random())
        if not self._reaches():
            await asyncio.sleep(_TIMEOUT_S)
            raise QueueError("Redis: it does not answer", reason="TimeoutError")
