"""Assignments and the epochs they carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, tuple_

from treadle_controller.cluster.model import Assignment, Desired, ReplicaId
from treadle_controller.store import rows
from treadle_controller.store.schema import ASSIGNMENTS, COUNTERS


def put_assignments(connection: Connection, namespace: str, assignments: Iterable[Assignment]) -> None:
    rows.put_many(connection, ASSIGNMENTS, [_row(namespace, assignment) for assignment in assignments])


def load_assignments(connection: Connection, namespace: str) -> list[Assignment]:
    found = connection.execute(select(ASSIGNMENTS).where(ASSIGNMENTS.c.namespace == namespace))
    return [_assignment(row) for row in found.mappings()]


def drop_assignments(connection: Connection, namespace: str, ids: Sequence[ReplicaId]) -> None:
    """Forget replicas that loops no longer have."""
    if ids:
        table = ASSIGNMENTS.c
        named = tuple_(table.workflow, table.loop, table.replica).in_([tuple(id_) for id_ in ids])
        connection.execute(delete(ASSIGNMENTS).where(table.namespace == namespace, named))


def put_counter(connection: Connection, name: str, value: int) -> None:
    rows.put(connection, COUNTERS, [{"name": name, "value": value}])


def get_counter(connection: Connection, name: str) -> int:
    found = connection.execute(select(COUNTERS.c.value).where(COUNTERS.c.name == name)).scalar()
    return found if found is not None else 0


def raise_counter(connection: Connection, name: str) -> int:
    """Raise a counter by one and return it."""
    value = get_counter(connection, name) + 1
    put_counter(connection, name, value)
    return value


def _row(namespace: str, assignment: Assignment) -> rows.Row:
    return (
        namespace,
        *assignment.id,
        assignment.agent,
        assignment.held,
        assignment.epoch,
        assignment.sequence,
        assignment.revision,
        assignment.digest,
        int(assignment.desired),
        assignment.restarts,
        assignment.releasing,
        assignment.completed,
        assignment.committed,
        assignment.errors,
        assignment.code,
    )


def _assignment(row: Mapping[Any, Any]) -> Assignment:
    same = ("agent", "held", "epoch", "sequence", "revision", "digest", "restarts", "releasing", "completed", "code")
    return Assignment(
        ReplicaId(row["workflow"], row["loop"], row["replica"]),
        desired=Desired(row["desired"]),
        committed=row["committed"],
        errors=row["errors"],
        **{field: row[field] for field in same},
    )
