"""The queue dictionary: which queues there are, and who is at their ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, select

from treadle_controller.store import codec, rows
from treadle_controller.store.records import QueueRecord
from treadle_controller.store.schema import QUEUES


def put_queues(connection: Connection, namespace: str, workflow: str, queues: Iterable[QueueRecord]) -> None:
    """Replace what a workflow says of queues; those that it no longer names stay, unmentioned."""
    old = QUEUES.update().where(QUEUES.c.namespace == namespace, QUEUES.c.workflow == workflow)
    connection.execute(old.values(mentioned=False))
    listed = [
        {
            "namespace": namespace,
            "name": record.queue.name,
            "workflow": record.workflow,
            "spec": codec.encode_text(record.queue),
            "mentioned": record.mentioned,
        }
        for record in queues
    ]
    rows.put(connection, QUEUES, listed)


def drop_queues(connection: Connection, namespace: str, names: Sequence[str]) -> None:
    wanted = QUEUES.c.name == bindparam("queue")
    gone = [{"queue": name} for name in names]
    if gone:
        connection.execute(delete(QUEUES).where(QUEUES.c.namespace == namespace, wanted), gone)


def load_queues(connection: Connection, namespace: str) -> list[QueueRecord]:
    found = connection.execute(select(QUEUES).where(QUEUES.c.namespace == namespace).order_by(QUEUES.c.name))
    return [QueueRecord(row.workflow, codec.decode_queue(row.spec), row.mentioned) for row in found]
