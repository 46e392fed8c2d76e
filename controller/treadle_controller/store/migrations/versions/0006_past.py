"""What replicas committed that their loops no longer have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("loops") as loops:
        for name in ("past_committed", "past_errors"):
            loops.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
