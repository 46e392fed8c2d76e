"""The metrics of one agent, from what its supervisor knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from treadle.telemetry.counts import Counts
from treadle.telemetry.loops import LoopFamilies
from treadle.telemetry.metrics import Family
from treadle_agent.supervisor.status import status_of

if TYPE_CHECKING:
    from treadle_agent.supervisor.record import Record


def families(records: Iterable[Record], *, log_lines_dropped: int, in_session: bool, redis_up: bool) -> list[Family]:
    """Return the families of an agent's loops and of itself."""
    loops = LoopFamilies()
    running = 0
    for record in records:
        status = status_of(record)
        counts = Counts()
        counts.add(status)
        loops.add(status, counts)
        running += record.run is not None
    session = Family("treadle.agent.in_session", "gauge", "1", "Whether a controller leads this agent (1) or not (0).")
    session.add({}, float(in_session))
    redis = Family("treadle.agent.redis_up", "gauge", "1", "Whether this agent reaches the queues (1) or not (0).")
    redis.add({}, float(redis_up))
    held = Family("treadle.agent.loops", "gauge", "{loop}", "Loops that run here.")
    held.add({}, running)
    lines = Family("treadle.agent.log_lines.dropped", "counter", "{line}", "Lines that nodes logged and nobody got.")
    lines.add({}, log_lines_dropped)
    return [*loops.all, session, redis, held, lines]
