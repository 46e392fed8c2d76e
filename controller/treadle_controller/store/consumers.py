"""Programs outside that read queues, and the epochs of their reader slots."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from treadle_controller.store import rows
from treadle_controller.store.records import ConsumerRecord
from treadle_controller.store.schema import CONSUMERS


def put_consumers(connection: Connection, namespace: str, records: Iterable[ConsumerRecord]) -> None:
    listed = [
        {
            "namespace": namespace,
            "queue": record.queue,
            "name": record.name,
            "epoch": record.epoch,
            "created": record.created,
            "seen": record.seen,
        }
        for record in records
    ]
    rows.put(connection, CONSUMERS, listed)


def drop_consumers(connection: Connection, namespace: str, records: Iterable[ConsumerRecord]) -> None:
    table = CONSUMERS.c
    for record in records:
        connection.execute(
            delete(CONSUMERS).where(
                table.namespace == namespace, table.queue == record.queue, table.name == record.name
            )
        )


def load_consumers(connection: Connection, namespace: str) -> list[ConsumerRecord]:
    found = connection.execute(select(CONSUMERS).where(CONSUMERS.c.namespace == namespace))
    return [ConsumerRecord(row.queue, row.name, row.epoch, row.created, row.seen) for row in found]
