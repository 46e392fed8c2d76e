"""What a loop is doing, decided from what its host sees of it when it collects figures. Pure; nothing on the hot path.

- queue-full: it waits for room in a queue, most of the time since the last look
- out-of-memory: the server of the queues takes no more; commit-refused: or refuses for another reason
- retrying: a node's next attempt is waited for
- working: a node is at work
- waiting-input: a queue is empty
- no-work: its producer has none, or its interval is not over
- between-turns: its producer has worked since the last look, and waits for its next turn

A look finds a loop at rest, or a node at work, by chance: that it lasts is known only when a later look sees the same.
Until then `since` is 0, which says that nobody knows: a report is some seconds old when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from treadle.loop.activity import Activity
from treadle.queues.answers import Remedy, remedy
from treadle.workflow.plan import Plan, Step
from treadle_agent.frames import Doing

SEEN_S: Final = 0.5  # two looks so far apart saw the same: it lasts; they may follow each other at once
MOSTLY: Final = 0.5  # of the time between two looks
_NEVER: Final[Mapping[str, float]] = {}


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at one moment. `now` is monotonic, `wall` since the epoch."""

    now: float
    wall: float
    activity: Activity | None
    iterations: int
    blocked: Mapping[str, float] = field(default_factory=dict)  # for how long in all, what lasts included, by queue
    trouble: str | None = None  # an error reply to the commit that is under way
    error: str = ""  # of the node that is at work, the last one


class Watcher:
    """Compares each look with the one before; `since` is the first look at which a loop did the same."""

    __slots__ = ("_doing", "_last", "_plan", "_still_since")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._last: Look | None = None
        self._doing: Doing | None = None
        self._still_since = 0.0  # the look from which on it has done nothing

    def look(self, look: Look) -> Doing:
        """Return what the loop does."""
        before, last = self._doing, self._last
        quiet = last is not None and last.iterations == look.iterations
        if not quiet:
            self._still_since = look.wall
        rests = look.wall - self._still_since >= SEEN_S
        doing = self._mostly_blocked(look) or self._trouble(look) or self._at_work(look) or self._at_rest(rests=rests)
        same = before is not None and before.since > 0 and msgspec.structs.replace(before, since=doing.since) == doing
        if before is not None and same and (quiet or doing.code in ("queue-full", "out-of-memory")):
            doing = before
        self._doing, self._last = doing, look
        return doing

    def _mostly_blocked(self, look: Look) -> Doing | None:
        last = self._last
        before, then = (last.blocked, last.now) if last is not None else (_NEVER, look.now - sum(look.blocked.values()))
        by_queue = {queue: seconds - before.get(queue, 0.0) for queue, seconds in look.blocked.items()}
        gained, passed = sum(by_queue.values()), look.now - then
        if gained <= 0 or gained < MOSTLY * passed:
            return None
        return Doing("queue-full", queue=max(by_queue, key=lambda each: by_queue[each]), since=look.wall - gained)

    def _trouble(self, look: Look) -> Doing | None:
        if look.trouble is None:
            return None
        memory = remedy(look.trouble) is Remedy.OUT_OF_MEMORY
        code = "out-of-memory" if memory else "commit-refused"
        return Doing(code, since=look.wall, message=look.trouble)

    def _at_work(self, look: Look) -> Doing | None:
        activity = look.activity
        if activity is None:
            return None
        lasts = look.now - activity.since
        since = look.wall - lasts if lasts >= SEEN_S else 0.0
        if activity.again_at is not None:
            again = look.wall + activity.again_at - look.now
            return Doing("retrying", activity.node, "", since, activity.attempt + 1, round(again, 1), look.error)
        step = next((step for step in self._plan.steps if step.node == activity.node), None)
        if step is not None and step.queue is not None and step.kind == "queue-reader":
            return Doing("waiting-input", activity.node, step.queue, since)
        return Doing("working", activity.node, "", since, activity.attempt)

    def _at_rest(self, *, rests: bool) -> Doing:
        first, since = self._plan.steps[0], self._still_since if rests else 0.0
        if first.kind == "queue-reader":
            return Doing("waiting-input", first.node, ",".join(_inputs(first)), since=since)
        return Doing("no-work" if rests else "between-turns", first.node, since=since)


def _inputs(step: Step) -> Sequence[str]:
    return step.queues or ((step.queue,) if step.queue is not None else ())
