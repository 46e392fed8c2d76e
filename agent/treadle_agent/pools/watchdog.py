"""The watchdog of a pool host: looks a few times a second at what its loops are inside, so that they need not.

It runs in the host's reporting thread. What it can't see, because a node holds the GIL, the supervisor sees by the
pulse that it leaves in the shared page.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from treadle_agent.frames import Trouble, Why
from treadle_agent.pools.lines import text_of

if TYPE_CHECKING:
    from treadle_agent.pools.loop_run import LoopRun
    from treadle_agent.pools.stacks import Sight

HANG_S: Final = 10.0  # in one execution: worth a word
HANG_LOOK_S: Final = 2.0
SNIPPET: Final = 8_000  # characters of a stack

Look = Callable[["LoopRun"], "Sight"]


class Watchdog:
    """Tells of deadlines that passed and of nodes that hang. `look` finds what a run is doing."""

    def __init__(self, say: Callable[[Trouble], None], look: Look) -> None:
        self._say = say
        self._look = look
        self._progress: dict[int, tuple[object, float]] = {}
        self._told: set[int] = set()
        self._overdue: set[int] = set()
        self._next_hang_look = 0.0

    def tour(self, runs: list[LoopRun]) -> None:
        """Look at all runs."""
        now = time.monotonic()
        for run in runs:
            if (run.timed or run.importing) and run.number not in self._overdue:
                self._check_deadline(run, now)
        if now >= self._next_hang_look:
            self._next_hang_look = now + HANG_LOOK_S
            self._check_progress(runs, now)

    def _check_deadline(self, run: LoopRun, now: float) -> None:
        passed = run.overdue(now)
        if passed is None:
            return
        self._overdue.add(run.number)
        self._say(Trouble(run.number, self._seen(run, passed.code, passed.message, passed.node)))

    def _check_progress(self, runs: list[LoopRun], now: float) -> None:
        before, self._progress = self._progress, {}
        for run in runs:
            progress = run.progress()
            if progress is None:
                continue
            known = before.get(run.number)
            since = known[1] if known is not None and known[0] == progress else now
            self._progress[run.number] = (progress, since)
            if now - since >= HANG_S:
                self._tell(run, now - since)
        for number in self._told - {run for run, (_, since) in self._progress.items() if now - since >= HANG_S}:
            self._told.discard(number)
            self._say(Trouble(number))

    def _tell(self, run: LoopRun, for_s: float) -> None:
        sight = self._look(run)
        node = run.node_at_work()
        if sight.waits or not node:
            return
        self._told.add(run.number)
        message = f"one execution has been going on for {for_s:.0f} s"
        self._say(Trouble(run.number, self._seen(run, "hanging", message, node)))

    def _seen(self, run: LoopRun, code: str, message: str, node: str = "") -> Why:
        sight = self._look(run)
        if not node and (found := sight.node) is not None:
            node = found.context.node
        return Why(code, message, node, text_of(sight.text, SNIPPET, end=True))
