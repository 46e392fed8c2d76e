"""Workflows, their revisions and loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, select, tuple_

from treadle.workflow.plan import Compiled, Plan
from treadle_controller.cluster.model import Desired, LoopRecord
from treadle_controller.store import codec, rows
from treadle_controller.store.records import RevisionRecord, WorkflowRecord
from treadle_controller.store.schema import ASSIGNMENTS, LOOPS, NAMESPACES, QUEUES, REVISIONS, WORKFLOWS


def found_namespace(connection: Connection, namespace: str, now: float) -> str:
    """Make the namespace if it is new; return the id of the Redis namespace that it was last used with."""
    found = connection.execute(select(NAMESPACES.c.redis_id).where(NAMESPACES.c.name == namespace)).scalar()
    if found is None:
        rows.put(connection, NAMESPACES, [{"name": namespace, "created": now, "redis_id": ""}])
    return found or ""


def set_redis_id(connection: Connection, namespace: str, redis_id: str) -> None:
    connection.execute(NAMESPACES.update().where(NAMESPACES.c.name == namespace).values(redis_id=redis_id))


def put_workflow(connection: Connection, namespace: str, record: WorkflowRecord) -> None:
    row = {"namespace": namespace, **{field: getattr(record, field) for field in WorkflowRecord.__struct_fields__}}
    rows.put(connection, WORKFLOWS, [row])


def add_revision(connection: Connection, namespace: str, record: RevisionRecord, encoded: bytes | None = None) -> None:
    """Add a revision; `encoded` is its compiled form, where that was encoded already."""
    row = {"namespace": namespace, **{field: getattr(record, field) for field in RevisionRecord.__struct_fields__}}
    row["compiled"] = codec.encode(record.compiled) if encoded is None else encoded
    connection.execute(REVISIONS.insert(), [row])


def put_loops(connection: Connection, namespace: str, loops: Iterable[LoopRecord]) -> None:
    rows.put_many(connection, LOOPS, [_loop_row(namespace, loop) for loop in loops])


def judge_revision(
    connection: Connection, namespace: str, workflow: str, number: int, *, state: int, why_code: str = "", why: str = ""
) -> None:
    """Note what became of a revision's rollout."""
    where = (REVISIONS.c.namespace == namespace, REVISIONS.c.workflow == workflow, REVISIONS.c.number == number)
    connection.execute(REVISIONS.update().where(*where).values(state=state, why_code=why_code, why=why))


def drop_loops(connection: Connection, namespace: str, loops: Sequence[tuple[str, str]]) -> None:
    """Remove loops, given as (workflow, loop), and the assignments of their replicas."""
    for table in (LOOPS, ASSIGNMENTS):
        named = tuple_(table.c.workflow, table.c.loop).in_(loops)
        connection.execute(delete(table).where(and_(table.c.namespace == namespace, named)))


def drop_workflow(connection: Connection, namespace: str, name: str) -> None:
    """Remove a workflow with its revisions, loops and assignments."""
    for table in (REVISIONS, LOOPS, ASSIGNMENTS):
        connection.execute(delete(table).where(table.c.namespace == namespace, table.c.workflow == name))
    connection.execute(delete(WORKFLOWS).where(WORKFLOWS.c.namespace == namespace, WORKFLOWS.c.name == name))
    unmentioned = QUEUES.update().where(QUEUES.c.namespace == namespace, QUEUES.c.workflow == name)
    connection.execute(unmentioned.values(mentioned=False))


def load_workflows(connection: Connection, namespace: str) -> list[WorkflowRecord]:
    found = connection.execute(select(WORKFLOWS).where(WORKFLOWS.c.namespace == namespace))
    fields = WorkflowRecord.__struct_fields__
    return [WorkflowRecord(**{field: row[field] for field in fields}) for row in found.mappings()]


def load_loops(connection: Connection, namespace: str) -> list[LoopRecord]:
    """Return all loops, each with the plan of the revision that it runs."""
    compiled = _load_compiled(connection, namespace)
    plans = {(*key, plan.loop): plan for key, one in compiled.items() for plan in one.plans}
    found = connection.execute(select(LOOPS).where(LOOPS.c.namespace == namespace))
    return [_loop(row, plans[row["workflow"], row["revision"], row["loop"]]) for row in found.mappings()]


def load_compiled(connection: Connection, namespace: str, workflow: str, number: int) -> Compiled:
    where = (REVISIONS.c.namespace == namespace, REVISIONS.c.workflow == workflow, REVISIONS.c.number == number)
    return codec.decode_compiled(connection.execute(select(REVISIONS.c.compiled).where(*where)).scalar_one())


def get_document(connection: Connection, namespace: str, workflow: str, number: int) -> bytes:
    where = (REVISIONS.c.namespace == namespace, REVISIONS.c.workflow == workflow, REVISIONS.c.number == number)
    found = connection.execute(select(REVISIONS.c.document).where(*where)).scalar()
    return found if found is not None else b""


def get_revision(connection: Connection, namespace: str, workflow: str, number: int) -> RevisionRecord | None:
    where = (REVISIONS.c.namespace == namespace, REVISIONS.c.workflow == workflow, REVISIONS.c.number == number)
    row = connection.execute(select(REVISIONS).where(*where)).mappings().first()
    return _revision(row) if row is not None else None


def list_revisions(
    connection: Connection, namespace: str, workflow: str, *, below: int | None, most: int
) -> list[RevisionRecord]:
    """Return revisions, newest first, from below a number on."""
    query = select(REVISIONS).where(REVISIONS.c.namespace == namespace, REVISIONS.c.workflow == workflow)
    if below is not None:
        query = query.where(REVISIONS.c.number < below)
    found = connection.execute(query.order_by(REVISIONS.c.number.desc()).limit(most))
    return [_revision(row) for row in found.mappings()]


def _load_compiled(connection: Connection, namespace: str) -> dict[tuple[str, int], Compiled]:
    """Return the compiled revisions that some loop runs or a workflow is at."""
    used = select(LOOPS.c.workflow, LOOPS.c.revision).where(LOOPS.c.namespace == namespace).distinct()
    columns = (REVISIONS.c.workflow, REVISIONS.c.number, REVISIONS.c.compiled)
    key = tuple_(REVISIONS.c.workflow, REVISIONS.c.number)
    found = connection.execute(select(*columns).where(REVISIONS.c.namespace == namespace, key.in_(used)))
    return {(row.workflow, row.number): codec.decode_compiled(row.compiled) for row in found}


def _loop_row(namespace: str, loop: LoopRecord) -> rows.Row:
    return (
        namespace,
        loop.workflow,
        loop.name,
        loop.revision,
        int(loop.desired),
        loop.restarts,
        loop.fresh,
        loop.removed,
        loop.entered,
        loop.scaled,
        loop.past_committed,
        loop.past_errors,
    )


def _loop(row: Mapping[Any, Any], plan: Plan) -> LoopRecord:
    return LoopRecord(
        workflow=row["workflow"],
        revision=row["revision"],
        plan=plan,
        desired=Desired(row["desired"]),
        restarts=row["restarts"],
        fresh=row["fresh"],
        removed=row["removed"],
        entered=row["entered"],
        scaled=row["scaled"],
        past_committed=row["past_committed"],
        past_errors=row["past_errors"],
    )


def _revision(row: Mapping[Any, Any]) -> RevisionRecord:
    fields = {field: row[field] for field in RevisionRecord.__struct_fields__}
    return RevisionRecord(**{**fields, "compiled": codec.decode_compiled(fields["compiled"])})
