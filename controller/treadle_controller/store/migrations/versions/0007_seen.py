"""Since when consumers are away."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("consumers") as consumers:
        consumers.add_column(sa.Column("seen", sa.Float(), nullable=False, server_default="0"))
