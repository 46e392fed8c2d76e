"""Serving HTTP beside gRPC, in the same event loop and without signal handlers of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvicorn

from treadle.telemetry.metrics import Family
from treadle_controller.errors import NeedsMending, start_failure
from treadle_controller.http.app import make_app
from treadle_controller.leader import Leader


class HttpServer:
    """Serves the application. `address` is where, once it has started."""

    def __init__(self, leader: Leader, families: Callable[[], Awaitable[list[Family]]]) -> None:
        config = uvicorn.Config(
            make_app(leader, families), log_config=None, access_log=False, lifespan="off", loop="none"
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self, listen: str) -> None:
        """Bind and serve. Raises StartFailed when the address can't be used."""
        host, _, port = listen.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
        except OSError as exc:
            listener.close()
            raise start_failure(f"cannot listen on {listen}: {exc}", exc) from exc
        except ValueError as exc:
            listener.close()
            raise NeedsMending(f"cannot listen on {listen}: {exc}") from exc
        self.address = f"{host}:{listener.getsockname()[1]}"
        self._serving = asyncio.create_task(self._serve(listener), name="http server")

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _serve(self, listener: socket.socket) -> None:
        await self._server._serve([listener])  # noqa: SLF001 - `serve` would take the process's signals over
        listener.close()
