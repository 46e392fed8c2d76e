"""What only goes up, counted over all incarnations of a replica: an agent begins at zero again, its sums must not."""

from __future__ import annotations

from treadle.v1 import loop_pb2


class Tally:
    """Since this controller started. An agent that counts less than it did before has begun again."""

    __slots__ = ("_seen", "dead_letters", "errors", "restarts", "retries")

    def __init__(self) -> None:
        self.errors = self.retries = self.restarts = self.dead_letters = 0
        self._seen = (0, 0, 0, 0)

    def take(self, report: loop_pb2.LoopStatus) -> None:
        """Take in what an agent says."""
        seen = self._seen
        self._seen = (report.errors, report.retries, report.restarts, report.dead_letters)
        if self._seen != seen:
            self.errors += _more(seen[0], report.errors)
            self.retries += _more(seen[1], report.retries)
            self.restarts += _more(seen[2], report.restarts)
            self.dead_letters += _more(seen[3], report.dead_letters)


def _more(before: int, now: int) -> int:
    return now - before if now >= before else now
