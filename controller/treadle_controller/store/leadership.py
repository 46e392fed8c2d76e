"""Who leads, where several controllers share a PostgreSQL: whoever holds one advisory lock in it.

The lock belongs to a connection, so it goes with the process that holds it. A controller that loses that connection
leads no more, and ends; what it still has in hand is refused by the store, since the one after it has raised the term.
With SQLite a lock on the file does the same (`store.lock`), and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from treadle_controller.errors import Deposed, StartFailed, StoreInUse

_LOCK: Final = 0x74726561646C65  # "treadle"
_LOOK_S: Final = 0.5
_TIMES: Final = {"connect_timeout": 5, "keepalives_idle": 1, "keepalives_interval": 1, "tcp_user_timeout": 3_000}
# The server has to notice a leader whose host vanished: within three seconds.
_NOTICE: Final = "SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2"


def keep_out(connection: Connection) -> None:
    """Let nobody lead until this transaction of a PostgreSQL is over. Raises StoreInUse when somebody does."""
    if connection.dialect.name != "postgresql":
        return
    if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar():
        name = connection.engine.url.render_as_string(hide_password=True)
        raise StoreInUse(f"a controller leads with the store {name}; stop it first")


class Leadership:
    """Holds the lock of one store. `acquire`, then `hold` as long as this controller leads, then `release`."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    @property
    def contested(self) -> bool:
        """Whether others may wait for it."""
        return self._url.get_backend_name() == "postgresql"

    async def acquire(self, on_wait: Callable[[], None]) -> None:
        """Wait until this controller leads; `on_wait` is called at each look in vain.

        Raises StartFailed when the store can't be reached at first; once one waits, it may go and come.
        """
        if not self.contested:
            return
        self._engine = create_engine(
            self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=dict(_TIMES)
        )
        waiting = False
        while True:
            try:
                if await asyncio.to_thread(self._try):
                    return
            except SQLAlchemyError as exc:
                await asyncio.to_thread(self._disconnect)
                if not waiting:
                    name = self._url.render_as_string(hide_password=True)
                    raise StartFailed(f"the store {name} can't be reached: {exc}") from exc
            waiting = True
            on_wait()
            await asyncio.sleep(_LOOK_S)

    async def hold(self) -> None:
        """Watch over the lock, for ever. Raises Deposed when it is lost."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._connection is None:
                continue
            try:
                await asyncio.to_thread(self._connection.execute, text("SELECT 1"))
            except SQLAlchemyError as exc:
                raise Deposed("the connection that holds the lock of the store is lost: another may lead now") from exc

    def release(self) -> None:
        """Let another one lead; legal at any time."""
        self._disconnect()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _try(self) -> bool:
        if self._connection is None and self._engine is not None:
            self._connection = self._engine.connect()
            self._connection.execute(text(_NOTICE))
        if self._connection is None:
            return False
        return bool(self._connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}).scalar())

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
