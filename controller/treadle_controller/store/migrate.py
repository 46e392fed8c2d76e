"""Migrations: bring a database to the newest schema before anything reads it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from treadle_controller.errors import NeedsMending
from treadle_controller.store.schema import HEAD


def migrate(connection: Connection) -> None:
    """Run the migrations that the database has not seen. Raises NeedsMending if it is newer than this program."""
    version = _version(connection)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise NeedsMending(f"the store has schema {version}, this controller knows {HEAD}; run the newer treadle")
    from alembic import command  # noqa: PLC0415 - half a second that only a database behind HEAD has to pay
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
