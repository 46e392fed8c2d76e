"""How many replicas somebody asked for, beside what the document says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("loops") as loops:
        loops.add_column(sa.Column("scaled", sa.Integer(), nullable=False, server_default="0"))
