"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("slots", sa.Text(), nullable=False),
        sa.Column("uses", sa.Text(), nullable=False),
        sa.Column("cordoned", sa.Boolean(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "assignments",
        sa.Column("namespace", sa.String(length=512), nullable=False),
        sa.Column("workflow", sa.String(length=512), nullable=False),
        sa.Column("loop", sa.String(length=512), nullable=False),
        sa.Column("replica", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("agent", sa.String(length=512), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=512), nullable=False),
        sa.Column("desired", sa.Integer(), nullable=False),
        sa.Column("restarts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("releasing", sa.Boolean(), nullable=False),
        sa.Column("completed", sa.Boolean(), nullable=False),
        sa.Column("committed", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("errors", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "workflow", "loop", "replica"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("value", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(length=512), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.String(length=512), nullable=False),
        sa.Column("workflow", sa.String(length=512), nullable=False),
        sa.Column("code", sa.String(length=512), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("events_by_workflow", "events", ["namespace", "workflow", "sequence"], unique=False)
    op.create_table(
        "loops",
        sa.Column("namespace", sa.String(length=512), nullable=False),
        sa.Column("workflow", sa.String(length=512), nullable=False),
        sa.Column("loop", sa.String(length=512), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("desired", sa.Integer(), nullable=False),
        sa.Column("restarts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fresh", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("entered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "workflow", "loop"),
    )
    op.create_table(
        "namespaces",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("redis_id", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "node_types",
        sa.Column("uses", sa.String(length=512), nullable=False),
        sa.Column("role", sa.String(length=512), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("stateful", sa.Boolean(), nullable=False),
        sa.Column("state_version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=512), nullable=False),
        sa.Column("module", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("uses"),
    )
    op.create_table(
        "queues",
        sa.Column("namespace", sa.String(length=512), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("workflow", sa.String(length=512), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("mentioned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name", "workflow"),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(length=512), nullable=False),
        sa.Column("method", sa.String(length=512), nullable=False),
        sa.Column("fingerprint", sa.String(length=512), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("requests_by_time", "requests", ["created"], unique=False)
    op.create_table(
        "revisions",
        sa.Column("namespace", sa.String(length=512), nullable=False),
        sa.Column("workflow", sa.String(length=512), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=512), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("compiled", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "workflow", "number"),
    )
    op.create_table(
        "workflows",
        sa.Column("namespace", sa.String(length=512), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=512), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("with_queues", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name"),
    )
