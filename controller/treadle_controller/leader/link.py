"""The link to the queues in Redis: whether it is up, which namespace it is, and the beat."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from treadle.errors import QueueError
from treadle.queues.admin import QueueAdmin
from treadle.queues.check import ServerReport
from treadle.queues.library import Move
from treadle.queues.stats import QueueStats
from treadle_controller.errors import UnfitRedis

_log = logging.getLogger(__name__)
_BEAT_S: Final = 1.0
_CHECK_S: Final = 60.0
_CACHE_S: Final = 0.5


def _ignore(*_: str) -> None:
    """Nobody listens yet."""


class QueueLink:
    """Watches over the namespace in Redis. Told of changes: `on_up(renewed)`, `on_down(problem)`.

    `renewed` says why epochs have to be given out anew: the server lost writes, or is another one. What people
    should know besides goes to `on_notice(code, message)`. `beat` is the last one known from before.
    """

    def __init__(self, admin: QueueAdmin, *, term: int, redis_id: str, beat: int = 0) -> None:
        self.admin = admin
        self.term = term
        self.redis_id = redis_id
        self.up = False
        self.problem = "Redis has not been reached yet"
        self.report: ServerReport | None = None
        self.checked = 0.0  # wall clock, for people
        self.renewals = 0  # how often Redis came back with less than it had
        self.on_up: Callable[[str], None] = _ignore
        self.on_down: Callable[[str], None] = _ignore
        self.on_notice: Callable[[str, str], None] = _ignore
        self._beat = beat
        self._fell = False  # a beat was not above the one before, and nobody has been told yet
        self._checked_at = float("-inf")
        self._figures: dict[str, tuple[float, QueueStats]] = {}

    @property
    def beat(self) -> int:
        """The last beat that Redis confirmed."""
        return self._beat

    async def start(self) -> None:
        """Meet the server once. Raises UnfitRedis when it can't be used; goes on when it does not answer."""
        try:
            await self._meet()
        except QueueError as exc:
            self._fail(exc)

    async def run(self) -> None:
        """Beat each second, check each minute, for ever."""
        while True:
            await asyncio.sleep(_BEAT_S)
            await self.run_once()

    async def run_once(self) -> None:
        """Beat once, and meet the server again if it was away or a minute is over."""
        try:
            if self.up and await self._was_restarted():
                self.up = False
            if not self.up or time.monotonic() - self._checked_at > _CHECK_S:
                await self._meet()
            beat, redis_id = await self._raise_beat()
        except UnfitRedis as exc:
            self.fail(exc.message)
        except QueueError as exc:
            self._fail(exc)
        else:
            self._fell |= beat <= self._beat
            self._beat = max(beat, self._beat)
            if self._fell or redis_id != self.redis_id:
                self.up = False  # met again at once, which says what to do
                await self.run_once()

    def fail(self, problem: str) -> None:
        """Take note that Redis can't be used now."""
        was_up, self.up = self.up, False
        if was_up or problem != self.problem:
            self.problem = problem
            _log.warning("the queues can't be used: %s", problem)
            self.on_down(problem)

    async def figures(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Return figures of queues, at most half a second old; nothing when Redis does not answer."""
        now = time.monotonic()
        stale = [name for name in queues if name not in self._figures or now - self._figures[name][0] > _CACHE_S]
        if stale and self.up:
            try:
                self._figures |= {name: (now, stats) for name, stats in (await self.admin.depths(stale)).items()}
            except QueueError as exc:
                self._fail(exc)
        return {name: self._figures[name][1] for name in queues if name in self._figures}

    def forget_figures(self) -> None:
        """Look at Redis again the next time: something was changed by hand."""
        self._figures.clear()

    def _fail(self, exc: QueueError) -> None:
        self.fail(exc.message)

    async def _was_restarted(self) -> bool:
        """Whether the server was away so shortly that the client has found it again by itself."""
        return self.report is not None and await self.admin.run_id() != self.report.run_id

    async def _raise_beat(self) -> tuple[int, str]:
        """Raise the beat; functions that somebody has flushed are loaded again at once."""
        try:
            return await self.admin.beat(self.term)
        except QueueError as exc:
            if exc.details.get("reason") != "UNLOADED":
                raise
        await self._load()
        return await self.admin.beat(self.term)

    async def _meet(self) -> None:
        await self._check()
        await self._load()
        if self.up:
            return
        redis_id = await self.admin.namespace_id()
        await self._renew_log()
        beat, _ = await self.admin.beat(self.term)
        renewed = self._judge(redis_id, beat)
        self.renewals += bool(renewed)
        self.redis_id, self._beat, self._fell, self.up, self.problem = redis_id, beat, False, True, ""
        self.on_up(renewed)

    async def _check(self) -> None:
        report = await self.admin.check_server()
        before, self.report = self.report, report
        self._checked_at, self.checked = time.monotonic(), time.time()
        for warning in report.warnings:
            if before is None or warning not in before.warnings:
                _log.warning("Redis: %s", warning)
                self.on_notice("redis-warning", warning)
        if report.refusal is not None:
            raise UnfitRedis(report.refusal)

    async def _renew_log(self) -> None:
        """Get rid of what a killed server may have left torn in its append-only file."""
        if self.report is None:
            return
        try:
            if await self.admin.renew_log(self.report):
                self.on_notice("redis-log-rewritten", "the server was started: it writes its append-only file anew")
        except QueueError as exc:  # it may be out of memory, or a managed one that allows no such thing
            message = f"its append-only file could not be written anew: {exc.message}"
            _log.warning("Redis: %s", message)
            self.on_notice("redis-warning", message)

    async def _load(self) -> None:
        try:
            move = await self.admin.load_functions()
        except QueueError as exc:
            if exc.details.get("reason") == "LIBRARY":
                raise UnfitRedis(exc.message) from exc
            raise
        if move is Move.LOAD:
            self.on_notice("redis-functions-loaded", "the functions were missing or older and have been loaded")

    def _judge(self, redis_id: str, beat: int) -> str:
        if self.redis_id and redis_id != self.redis_id:
            return f"Redis holds another namespace ({redis_id}, it was {self.redis_id}): its queues begin anew"
        if self._fell or beat <= self._beat:  # each answer is above the one before, or the server has lost one
            return "Redis went back to an earlier moment: what it had acknowledged since then is lost"
        return ""
