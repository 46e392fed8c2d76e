"""Answers already given, so that the same request id gets the same answer."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, select

from treadle_controller.store import rows
from treadle_controller.store.records import AnswerRecord
from treadle_controller.store.schema import REQUESTS

KEPT_S: Final = 3_600.0


def put_answer(connection: Connection, record: AnswerRecord) -> None:
    """Keep an answer, and forget those that are too old."""
    connection.execute(delete(REQUESTS).where(REQUESTS.c.created < record.created - KEPT_S))
    rows.put(connection, REQUESTS, [{field: getattr(record, field) for field in AnswerRecord.__struct_fields__}])


def get_answer(connection: Connection, request_id: str) -> AnswerRecord | None:
    row = connection.execute(select(REQUESTS).where(REQUESTS.c.request_id == request_id)).mappings().first()
    if row is None:
        return None
    return AnswerRecord(**{field: row[field] for field in AnswerRecord.__struct_fields__})
