"""The queue dictionary in Redis: an entry for each queue, for programs outside that know only Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from treadle_controller.leader.image import Image
from treadle_controller.leader.link import QueueLink
from treadle_controller.store.records import QueueRecord


async def mirror(image: Image, link: QueueLink) -> None:
    """Write the entries that are old. Raises QueueError when Redis can't be asked; they stay due then."""
    whole, due = image.mirror_whole, set(image.mirror_due)
    if not whole and not due:
        return
    records: defaultdict[str, list[QueueRecord]] = defaultdict(list)
    for (name, _), record in image.queues.items():
        if whole or name in due:
            records[name].append(record)
    gone = {} if whole else dict.fromkeys(due - records.keys(), b"")
    await link.admin.mirror({**gone, **{name: _entry(records[name]) for name in sorted(records)}}, whole=whole)
    image.mirror_whole = False
    image.mirror_due -= due


def _entry(records: Iterable[QueueRecord]) -> bytes:
    """Return what all workflows say of a queue, as JSON."""
    listed = sorted(records, key=lambda record: (not record.mentioned, record.workflow))
    mentioned = [record for record in listed if record.mentioned]
    first = listed[0].queue
    entry: dict[str, Any] = {
        "limits": first.limits,
        "writers": [f"{record.workflow}/{loop}" for record in mentioned for loop in record.queue.writers],
        "readers": [f"{record.workflow}/{loop}" for record in mentioned for loop in record.queue.readers],
        "external": any(record.queue.external for record in mentioned),
        "hidden": first.hidden,
    }
    return msgspec.json.encode(entry)
