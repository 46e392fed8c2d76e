"""This agent's page for Prometheus, on the supervisor's event loop. Loaded only where a page is wanted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from treadle.errors import ConfigError
from treadle.mistakes import is_mistake
from treadle.telemetry.metrics import Family, text
from treadle_agent.errors import ListenFailed


class MetricsPage:
    """Serves /metrics, with what `families` returns. `address` is where, once it has started."""

    def __init__(self, families: Callable[[], list[Family]]) -> None:
        async def metrics(_: Request) -> Response:
            page = await asyncio.to_thread(text, families())
            return PlainTextResponse(page, media_type="text/plain; version=0.0.4")

        app = Starlette(routes=[Route("/metrics", metrics)])
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", loop="none")
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self, listen: str) -> None:
        """Bind and serve. Raises ListenFailed, or ConfigError when the address never can be used."""
        host, _, port = listen.rpartition(":")
        listener = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
        except OSError as exc:
            listener.close()
            kind = ConfigError if is_mistake(exc) else ListenFailed
            raise kind(f"cannot listen on {listen}: {exc}", key="http_listen") from exc
        self.address = f"{host}:{listener.getsockname()[1]}"
        self._serving = asyncio.create_task(self._serve(listener), name="metrics page")

    async def stop(self) -> None:
        """Close it."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait([self._serving])

    async def _serve(self, listener: socket.socket) -> None:
        await self._server._serve([listener])  # noqa: SLF001 - `serve` would take the process's signals over
        listener.close()
