"""Tokens, by their hashes, and what was revoked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("digest", sa.String(length=512), primary_key=True, nullable=False),
        *(sa.Column(name, sa.String(length=512), nullable=False) for name in ("kind", "name", "role", "namespace")),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("created", "expires", "used")),
    )
    op.create_table(
        "revocations",
        sa.Column("kind", sa.String(length=512), primary_key=True, nullable=False),
        sa.Column("name", sa.String(length=512), primary_key=True, nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
    )
