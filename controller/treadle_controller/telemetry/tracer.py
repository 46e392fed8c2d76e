"""Which calls and assignments are traced, and where their spans go."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from treadle.telemetry import conventions as c
from treadle.telemetry.origin import Origin, new_trace_id
from treadle.telemetry.sampling import CONTINUED, Budget
from treadle.telemetry.span import Span
from treadle_controller.cluster.model import Assignment, Observed, ReplicaId, State

MAX_UNDER_WAY: Final = 10_000  # assignments whose loops have not run yet; the oldest is forgotten


@dataclass(slots=True)
class Tracer:
    """`sink` takes spans that have ended, and never waits. Of calls without a trace, `ratio` begin one."""

    ratio: float
    per_second: int
    sink: Callable[[Span], None]
    chance: Callable[[], float] = random.random
    _begun: Budget = field(init=False)
    _continued: Budget = field(init=False)
    _assigned: Budget = field(init=False)
    _under_way: dict[ReplicaId, tuple[int, Span]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._begun, self._assigned = Budget(self.per_second), Budget(self.per_second)
        self._continued = Budget(CONTINUED * self.per_second)

    def wants(self, origin: Origin | None) -> bool:
        """Tell whether a call is traced: its caller decides, and for those that don't, the settings."""
        now = time.monotonic_ns()
        if origin is not None:
            return origin.sampled and self._continued.take(now)
        return self.chance() < self.ratio and self._begun.take(now)

    def ended(self, span: Span) -> None:
        """Take a span that has ended."""
        self.sink(span)

    # Assignments are rare and worth knowing: all are traced, as far as the budget goes.

    def assigned(self, namespace: str, one: Assignment) -> str:
        """Begin the span of an assignment that is sent; returns what the agent is told of it, "" for nothing."""
        known = self._under_way.get(one.id)
        if known is not None and known[0] == one.epoch:
            return known[1].origin.traceparent  # it is sent again
        self._under_way.pop(one.id, None)
        while len(self._under_way) >= MAX_UNDER_WAY:
            self._under_way.pop(next(iter(self._under_way)))
        if not self._assigned.take(time.monotonic_ns()):
            return ""
        span = Span(
            f"assign {one.id.workflow}/{one.id.loop}",
            new_trace_id(),
            start=time.time_ns(),
            attributes={
                c.NAMESPACE: namespace,
                c.WORKFLOW: one.id.workflow,
                c.LOOP: one.id.loop,
                c.REPLICA: one.id.replica,
                c.REVISION: str(one.revision),
                c.EPOCH: one.epoch,
                c.AGENT: one.agent,
            },
        )
        self._under_way[one.id] = (one.epoch, span)
        return span.origin.traceparent

    def observed(self, id_: ReplicaId, seen: Observed) -> None:
        """Take in what an agent says of a loop: once it runs, or can't, its assignment is over."""
        known = self._under_way.get(id_)
        if known is None or known[0] != seen.epoch or seen.state in _ON_THE_WAY:
            return
        del self._under_way[id_]
        span = known[1]
        span.end = time.time_ns()
        if seen.state in _FAILED:
            span.error = seen.why.message if seen.why is not None else seen.state.name
            span.attributes[c.ERROR_TYPE] = seen.why.code if seen.why is not None else seen.state.name
        self.sink(span)


_ON_THE_WAY = frozenset({State.PENDING, State.ASSIGNED, State.STARTING})
_FAILED = frozenset({State.ERROR, State.LOST, State.BACKOFF})
