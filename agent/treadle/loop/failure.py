"""What becomes of an iteration in which something was raised: one pure function decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from treadle.errors import LoopStopping


class Decision(Enum):
    """What the loop does next."""

    DROP = "drop"  # forget the iteration, nothing is wrong
    FAIL = "fail"  # end the loop


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed execution. `attempt` counts from 1; `ending`: the loop is being drained or stopped."""

    error: BaseException
    attempt: int
    ending: bool


def decide(failure: Failure) -> Decision:
    """Say what becomes of a failed execution.

    A wait that ended because the loop is drained is no failure: what the iteration took stays in its queue.
    """
    if failure.ending and isinstance(failure.error, LoopStopping):
        return Decision.DROP
    return Decision.FAIL
