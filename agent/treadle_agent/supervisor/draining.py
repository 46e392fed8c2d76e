"""In which order loops are drained when nobody tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from treadle_agent.frames import Address
from treadle_agent.supervisor.record import Record


def order_of_draining(records: Iterable[Record]) -> list[Record]:
    """Return those that may be drained now: no other running loop here still writes what they read.

    Producers come first, then their readers, and so on; on a cycle all that is left go together.
    """
    left = [record for record in records if record.run is not None]
    writes = {
        queue: record.address for record in left if record.wanted is not None for queue in record.wanted.plan.writes
    }
    first = [record for record in left if not _is_fed(record, writes)]
    return first or left


def _is_fed(record: Record, writes: Mapping[str, Address]) -> bool:
    reads = record.wanted.plan.reads if record.wanted is not None else ()
    return any(writes.get(queue, record.address) != record.address for queue in reads)
