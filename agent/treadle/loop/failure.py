"""What becomes of an execution in which something was raised: one pure function decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from treadle.errors import BadMessage, DataError, LoopStopping
from treadle.loop.retry import NodeRetryPolicy

if TYPE_CHECKING:
    from treadle.workflow.plan import OnExhausted, RetryPolicy


class Action(Enum):
    """What the loop does when there is no further attempt."""

    DROP = "drop"  # forget the iteration, nothing is wrong: the loop is ending
    ERROR_EDGE = "error-edge"  # go on along the edges of the handle `error`
    SKIP = "skip"  # go on as if the node had returned None
    DEAD_LETTER = "dead-letter"
    FAIL_LOOP = "fail-loop"
    RESTART_LOOP = "restart-loop"
    STOP_WORKFLOW = "stop-workflow"


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt, after so many seconds."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands. `own`: a step of treadle's that only moves data. `popped`: the iteration holds messages."""

    producer: bool = False
    fed: bool = False  # a queue feeds the loop
    popped: bool = False
    catches: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed execution. `attempt` counts from 1, `elapsed_s` from the first failure.

    `left_s` is what `iteration_timeout` leaves, None without one; `ending`: the loop is being drained or stopped.
    `final`: what was raised lies behind the node, so that it can't be executed again.
    """

    error: BaseException
    attempt: int = 1
    elapsed_s: float = 0.0
    left_s: float | None = None
    ending: bool = False
    final: bool = False


_BY_NAME: Final[dict[OnExhausted, Action]] = {
    "fail-loop": Action.FAIL_LOOP,
    "restart-loop": Action.RESTART_LOOP,
    "dead-letter": Action.DEAD_LETTER,
    "skip": Action.SKIP,
    "stop-workflow": Action.STOP_WORKFLOW,
}


def decide(failure: Failure, settings: RetryPolicy, place: Place, *, chance: float) -> Again | Action:
    """Say what becomes of a failed execution.

    A wait that ended because the loop is drained is no failure: what the iteration took stays in its queue.
    """
    if failure.ending and isinstance(failure.error, LoopStopping):
        return Action.DROP
    # What moves data gives the same again for the same data.
    hopeless = failure.final or (place.own and isinstance(failure.error, DataError))
    delay = None
    if not hopeless:
        delay = NodeRetryPolicy(settings).delay_s(
            failure.error, attempt=failure.attempt, elapsed_s=failure.elapsed_s, chance=chance
        )
    if delay is not None and (failure.left_s is None or delay < failure.left_s):
        return Again(delay)
    return _exhausted(failure, settings.on_exhausted, place)


def _exhausted(failure: Failure, wanted: OnExhausted | None, place: Place) -> Action:
    if isinstance(failure.error, BadMessage) and place.popped:
        return Action.DEAD_LETTER  # it stays unreadable, and holds up all that come after it
    if place.catches and not failure.final:
        return Action.ERROR_EDGE
    action = _by_place(place) if wanted is None else _BY_NAME[wanted]
    # A dead letter keeps what was popped; without that it would only hide that something is lost.
    return Action.FAIL_LOOP if action is Action.DEAD_LETTER and not place.popped else action


def _by_place(place: Place) -> Action:
    if place.fed:
        return Action.DEAD_LETTER
    return Action.RESTART_LOOP if place.producer else Action.FAIL_LOOP
