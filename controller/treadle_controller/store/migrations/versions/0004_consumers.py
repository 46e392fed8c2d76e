"""Programs outside that read queues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "consumers",
        sa.Column("namespace", sa.String(length=512), primary_key=True, nullable=False),
        sa.Column("queue", sa.String(length=512), primary_key=True, nullable=False),
        sa.Column("name", sa.String(length=512), primary_key=True, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
    )
