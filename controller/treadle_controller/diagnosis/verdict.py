"""A verdict: one sentence and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What verdicts are about, from the worst to the best. What is above WAITS is somebody's to mend; below it others
# have to, or nobody.
_GRAVITY: Final = (
    "redis-unreachable",
    "out-of-memory",
    "dlq-full",
    "error",
    "backoff",
    "agent-lost",
    "pending",
    "commit-refused",
    "hanging",
    "failing",
    "retrying",
    "lagging",
    "stopped",
    "paused",
    "assigned",
    "starting",
    "draining",
    "queue-full",
    "working",
    "idle",
    "running",
    "completed",
    "removed",
)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was seen: what it is about, and what it is."""

    subject: str
    fact: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` says what it is about where that is not `code`, the stable word; `fix` is the command that helps."""

    loop: str
    code: str
    sentence: str
    evidence: tuple[Fact, ...] = ()
    fix: str = ""
    kind: str = ""

    @property
    def gravity(self) -> int:
        """The smaller, the worse."""
        kind = self.kind or self.code
        return _GRAVITY.index(kind) if kind in _GRAVITY else _GRAVITY.index("pending")

    @property
    def is_cause(self) -> bool:
        """Whether it explains why somebody else gets nothing."""
        return self.gravity < _GRAVITY.index("working")
