"""Events: the newest are kept, the oldest go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import structs
from sqlalchemy import Connection, delete, func, select

from treadle_controller.store import rows
from treadle_controller.store.records import EventRecord
from treadle_controller.store.schema import EVENTS

KEPT: Final = 10_000


def add_events(connection: Connection, events: Sequence[EventRecord]) -> None:
    """Append events and drop those that are too old."""
    if not events:
        return
    kept = events[-KEPT:]
    rows.put(connection, EVENTS, [structs.asdict(one) for one in kept])
    oldest = events[-1].sequence - KEPT
    if oldest > 0:
        connection.execute(delete(EVENTS).where(EVENTS.c.sequence <= oldest))


def last_sequence(connection: Connection) -> int:
    return connection.execute(select(func.max(EVENTS.c.sequence))).scalar() or 0


def last_events(
    connection: Connection, namespace: str, names: Collection[str], codes: Collection[str]
) -> list[EventRecord]:
    """Return the newest event of each object with one of some codes."""
    newest = (
        select(func.max(EVENTS.c.sequence))
        .where(EVENTS.c.namespace == namespace, EVENTS.c.name.in_(names), EVENTS.c.code.in_(codes))
        .group_by(EVENTS.c.name)
    )
    found = connection.execute(select(EVENTS).where(EVENTS.c.sequence.in_(newest)))
    return [EventRecord(**{field: row[field] for field in EventRecord.__struct_fields__}) for row in found.mappings()]


def list_events(connection: Connection, namespace: str, workflow: str, *, after: int, most: int) -> list[EventRecord]:
    """Return events after a sequence, oldest first; those of one workflow, or of everything."""
    query = select(EVENTS).where(EVENTS.c.namespace == namespace, EVENTS.c.sequence > after)
    if workflow:
        query = query.where(EVENTS.c.workflow == workflow)
    found = connection.execute(query.order_by(EVENTS.c.sequence).limit(most))
    return [EventRecord(**{field: row[field] for field in EventRecord.__struct_fields__}) for row in found.mappings()]
