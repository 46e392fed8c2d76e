"""Agents, and every node type that one of them ever offered."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from treadle.workflow.node_type import NodeType
from treadle_controller.store import codec, rows
from treadle_controller.store.records import AgentRecord
from treadle_controller.store.schema import AGENTS, NODE_TYPES


def put_agent(connection: Connection, record: AgentRecord) -> None:
    row = {
        "name": record.name,
        "version": record.version,
        "labels": codec.encode_text(record.labels),
        "slots": codec.encode_text(record.slots),
        "uses": codec.encode_text(record.uses),
        "cordoned": record.cordoned,
        "seen": record.seen,
        "drain_until": record.drain_until,
    }
    rows.put(connection, AGENTS, [row])


def drop_agent(connection: Connection, name: str) -> None:
    connection.execute(delete(AGENTS).where(AGENTS.c.name == name))


def load_agents(connection: Connection) -> list[AgentRecord]:
    return [
        AgentRecord(
            name=row.name,
            version=row.version,
            labels=codec.decode(row.labels),
            slots=codec.decode(row.slots),
            uses=tuple(codec.decode(row.uses)),
            cordoned=row.cordoned,
            seen=row.seen,
            drain_until=row.drain_until,
        )
        for row in connection.execute(select(AGENTS))
    ]


def put_node_types(connection: Connection, node_types: Iterable[NodeType]) -> None:
    listed = [
        {
            "uses": one.uses,
            "role": one.role,
            "schema": codec.encode_text(one.schema),
            "doc": one.doc,
            "stateful": one.stateful,
            "state_version": one.state_version,
            "digest": one.digest,
            "module": one.module,
        }
        for one in node_types
    ]
    rows.put(connection, NODE_TYPES, listed)


def load_node_types(connection: Connection) -> list[NodeType]:
    return [
        NodeType(
            uses=row.uses,
            role=row.role,
            schema=codec.decode(row.schema),
            doc=row.doc,
            stateful=row.stateful,
            state_version=row.state_version,
            digest=row.digest,
            module=row.module,
        )
        for row in connection.execute(select(NODE_TYPES).order_by(NODE_TYPES.c.uses))
    ]
