"""Rollouts and their verdicts, the code that loops run, and drains that outlive the controller."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HEALTHY = "20"


def upgrade() -> None:
    for table in ("workflows", "revisions"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("state", sa.Integer(), nullable=False, server_default=_HEALTHY))
            batch.add_column(sa.Column("why_code", sa.Text(), nullable=False, server_default=""))
            batch.add_column(sa.Column("why", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("workflows") as workflows:
        workflows.add_column(sa.Column("healthy", sa.BigInteger(), nullable=False, server_default="0"))
        workflows.add_column(sa.Column("returned_from", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE workflows SET healthy = revision")
    with op.batch_alter_table("assignments") as assignments:
        assignments.add_column(sa.Column("code", sa.String(length=512), nullable=False, server_default=""))
    with op.batch_alter_table("agents") as agents:
        agents.add_column(sa.Column("drain_until", sa.Float(), nullable=False, server_default="0"))
