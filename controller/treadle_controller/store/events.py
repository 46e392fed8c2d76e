"""Events: the newest are kept, the oldest go.

What happens to one workflow may be ten thousand events in a second, such as when all its loops are placed. So of each
kind and workflow only a share is kept: neither what others said goes for it, nor what people did to that workflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, delete, func, or_, select

from treadle_controller.store import rows
from treadle_controller.store.records import EventRecord
from treadle_controller.store.schema import EVENTS

KEPT: Final = 10_000
SHARE: Final = 2_500  # of one kind about one workflow
TRIM_EVERY: Final = 500  # so many events may be there beyond that


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody wants; what is empty does not narrow. A loop's name takes in its replicas and tails."""

    workflow: str = ""
    kinds: tuple[str, ...] = ()
    name: str = ""
    codes: tuple[str, ...] = ()
    actor: str = ""  # a part of it
    since: float = 0.0

    def takes(self, one: EventRecord) -> bool:
        """Whether an event is wanted."""
        named = not self.name or one.name == self.name or one.name.startswith((f"{self.name}/", f"{self.name}~"))
        return (
            named
            and (not self.workflow or one.workflow == self.workflow)
            and (not self.kinds or one.kind in self.kinds)
            and (not self.codes or one.code in self.codes)
            and self.actor.lower() in one.actor.lower()
            and one.time >= self.since
        )

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the same for the database."""
        columns = EVENTS.c
        found: list[ColumnElement[bool]] = []
        if self.workflow:
            found.append(columns.workflow == self.workflow)
        if self.kinds:
            found.append(columns.kind.in_(self.kinds))
        if self.codes:
            found.append(columns.code.in_(self.codes))
        if self.name:
            below = or_(*(columns.name.startswith(self.name + mark, autoescape=True) for mark in "/~"))
            found.append(or_(columns.name == self.name, below))
        if self.actor:
            found.append(func.lower(columns.actor).contains(self.actor.lower(), autoescape=True))
        if self.since:
            found.append(columns.time >= self.since)
        return found


def add_events(connection: Connection, events: Sequence[EventRecord]) -> None:
    """Append events, and now and then drop those that are too many."""
    if not events:
        return
    rows.put_many(connection, EVENTS, [structs.astuple(one) for one in _worth_writing(events)])
    if (events[0].sequence - 1) // TRIM_EVERY != events[-1].sequence // TRIM_EVERY:
        _trim(connection)


def _worth_writing(events: Sequence[EventRecord]) -> list[EventRecord]:
    """Return the newest of each kind and workflow, and of all, oldest first."""
    if len(events) <= min(SHARE, KEPT):
        return list(events)
    kept: list[EventRecord] = []
    count = Counter[tuple[str, str]]()
    for one in reversed(events):
        count[one.kind, one.workflow] += 1
        if count[one.kind, one.workflow] <= SHARE:
            kept.append(one)
    return kept[:KEPT][::-1]


def _trim(connection: Connection) -> None:
    columns = EVENTS.c
    many = select(columns.kind, columns.workflow).group_by(columns.kind, columns.workflow)
    for kind, workflow in connection.execute(many.having(func.count() > SHARE)).all():
        _drop_oldest(connection, [columns.kind == kind, columns.workflow == workflow], SHARE)
    _drop_oldest(connection, [], KEPT)


def _drop_oldest(connection: Connection, which: list[ColumnElement[bool]], kept: int) -> None:
    newest = select(EVENTS.c.sequence).where(*which).order_by(EVENTS.c.sequence.desc())
    last = newest.offset(kept).limit(1).scalar_subquery()
    connection.execute(delete(EVENTS).where(*which, EVENTS.c.sequence <= last))


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


def list_events(connection: Connection, namespace: str, wanted: Wanted, *, after: int, most: int) -> list[EventRecord]:
    """Return events after a sequence, oldest first."""
    query = select(EVENTS).where(EVENTS.c.namespace == namespace, EVENTS.c.sequence > after, *wanted.conditions())
    found = connection.execute(query.order_by(EVENTS.c.sequence).limit(most))
    return [EventRecord(**{field: row[field] for field in EventRecord.__struct_fields__}) for row in found.mappings()]
