"""What only goes up, counted over all agents that a replica ran on: each begins at zero, its sums must not."""

from __future__ import annotations

from treadle.telemetry.counts import Counts
from treadle.v1 import loop_pb2


class Tally:
    """Since this controller leads, but for `errors`, those that are stored. What agents say counts for what is theirs:
    an agent that says another `since_time` has begun again.
    """

    __slots__ = ("_errors", "_past", "_seen")

    def __init__(self, errors: int = 0) -> None:
        self._errors = errors  # at the beginning
        self._past: Counts | None = None  # all before what was seen last; of most replicas there is nothing
        self._seen: loop_pb2.LoopStatus | None = None

    def take(self, report: loop_pb2.LoopStatus) -> None:
        """Take in what an agent says; the report is kept."""
        if self._seen is not None and _began_again(self._seen, report):
            self._past = self._counted()
            self._past.add(self._seen)
        self._seen = report

    @property
    def errors(self) -> int:
        """All errors."""
        past = self._errors if self._past is None else self._past.errors
        return past + (0 if self._seen is None else self._seen.errors)

    @property
    def untouched(self) -> int:
        """Iterations that left nothing to commit, which Redis does not know of, on agents before the one of now."""
        return 0 if self._past is None else self._past.untouched

    def total(self) -> Counts:
        """Return all."""
        total = Counts()
        total.add_counts(self._counted())
        if self._seen is not None:
            total.add(self._seen)
        return total

    def _counted(self) -> Counts:
        return Counts(errors=self._errors) if self._past is None else self._past


def _began_again(before: loop_pb2.LoopStatus, now: loop_pb2.LoopStatus) -> bool:
    if before.HasField("since_time") and now.HasField("since_time"):
        return bool(before.since_time != now.since_time)
    # An older agent does not say; what it counts less than before tells.
    return bool(
        now.errors < before.errors
        or now.retries < before.retries
        or now.restarts < before.restarts
        or now.dead_letters < before.dead_letters
    )
