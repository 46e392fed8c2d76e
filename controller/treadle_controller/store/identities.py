"""Tokens, by their hashes, and what was revoked."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, select, update

from treadle_controller.store import rows
from treadle_controller.store.records import RevocationRecord, TokenRecord
from treadle_controller.store.schema import REVOCATIONS, TOKENS

_KEPT_S: Final = 7 * 86_400.0  # a token that is no good any more is still told from one that never was


def put_token(connection: Connection, record: TokenRecord, now: float) -> None:
    """Keep a token, and forget those that have long expired."""
    connection.execute(delete(TOKENS).where(TOKENS.c.expires < now - _KEPT_S))
    rows.put(connection, TOKENS, [{field: getattr(record, field) for field in TokenRecord.__struct_fields__}])


def load_tokens(connection: Connection, kind: str) -> list[TokenRecord]:
    found = connection.execute(select(TOKENS).where(TOKENS.c.kind == kind)).mappings()
    return [TokenRecord(**{field: row[field] for field in TokenRecord.__struct_fields__}) for row in found]


def redeem(connection: Connection, digest: str, name: str, now: float) -> str:
    """Use an agent's token up; returns `redeemed`, or why not."""
    mine = (TOKENS.c.digest == digest) & (TOKENS.c.kind == "agent") & (TOKENS.c.name == name)
    row = connection.execute(select(TOKENS).where(mine)).mappings().first()
    if row is None:
        return "token-unknown"
    if row["used"]:
        return "token-used"
    if row["expires"] <= now:
        return "token-expired"
    connection.execute(update(TOKENS).where(mine).values(used=now))
    return "redeemed"


def revoke(connection: Connection, record: RevocationRecord) -> None:
    """Keep a revocation, and forget the tokens of whom it is about."""
    connection.execute(delete(TOKENS).where((TOKENS.c.kind == record.kind) & (TOKENS.c.name == record.name)))
    rows.put(connection, REVOCATIONS, [{"kind": record.kind, "name": record.name, "until": record.until}])


def load_revocations(connection: Connection) -> list[RevocationRecord]:
    return [RevocationRecord(row.kind, row.name, row.until) for row in connection.execute(select(REVOCATIONS))]
