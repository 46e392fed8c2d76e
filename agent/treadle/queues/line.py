"""A connection that comes back: finds the server, connects, and does so again when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis

from treadle.errors import QueueError
from treadle.queues.answers import Remedy, remedy
from treadle.queues.locate import locate
from treadle.queues.wire import GONE, Callback, Wire, connect, request

_log = logging.getLogger(__name__)
_BACKOFF_S = (0.02, 0.5)
Trouble = (OSError, TimeoutError, hiredis.ReplyError, QueueError)


class Line:
    """See the module. `greet` runs on every new connection before anybody else may use it."""

    def __init__(
        self, url: str, namespace: str, name: str, greet: Callable[[Wire], Awaitable[None]], *, shared: bool = False
    ) -> None:
        self._url = url
        self._namespace = namespace
        self._name = name
        self._greet = greet
        self._shared = shared  # other threads send on it too
        self.wire: Wire | None = None
        self.up = asyncio.Event()
        self.trouble: str | None = None  # why it is not up, for people

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        pause_s = _BACKOFF_S[0]
        try:
            while True:
                lost = asyncio.Event()  # one per attempt: a late word of an earlier one says nothing about this one
                if await self._connect(lost):
                    pause_s = _BACKOFF_S[0]
                    await lost.wait()
                    self.wire = None
                    self.up.clear()
                    self.trouble = "the connection to Redis was lost"
                await asyncio.sleep(pause_s)
                pause_s = min(_BACKOFF_S[1], pause_s * 2)
        finally:
            if self.wire is not None:
                self.wire.abort()

    async def _connect(self, lost: asyncio.Event) -> bool:
        wire = None
        try:
            server = await locate(self._url, self._namespace)
            wire = await connect(server, lost.set, name=self._name, shared=self._shared)
            await self._greet(wire)
        except Trouble as exc:
            self._report(str(exc) or type(exc).__name__)
            if wire is not None:
                wire.abort()
            return False
        if lost.is_set():
            return False
        self.wire = wire
        self.trouble = None
        self.up.set()
        return True

    def _report(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("Redis can't be used: %s", trouble)
        self.trouble = trouble

    def send(self, payload: bytes, callback: Callback) -> None:
        """Send packed bytes; without a connection the answer is GONE at once."""
        if self.wire is None:
            callback(GONE)
        else:
            self.wire.send(payload, callback)

    def abort(self) -> None:
        """Cut the connection; it comes back, to where the server is then."""
        if self.wire is not None:
            self.wire.abort()

    async def ask(self, *args: Any, timeout_s: float = 30.0) -> Any:
        """Send a command that may be sent again until it is answered. Raises QueueError when that takes too long."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.up.wait()
                    if self.wire is not None:
                        return await request(self.wire, *args)
                    await asyncio.sleep(_BACKOFF_S[0])
            except TimeoutError as exc:
                raise QueueError(f"Redis does not answer: {self.trouble or 'timeout'}") from exc
            except ConnectionError:
                await asyncio.sleep(_BACKOFF_S[0])
            except hiredis.ReplyError as exc:
                await self._recover(exc)

    async def _recover(self, error: hiredis.ReplyError) -> None:
        match remedy(str(error)):
            case Remedy.NONE:
                raise QueueError(f"Redis: {error}") from error
            case Remedy.RELOCATE:
                self.abort()
        self.trouble = str(error)
        await asyncio.sleep(0.1)
