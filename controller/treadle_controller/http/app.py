"""The HTTP application: /healthz (the process lives), /readyz (it can do its work), /metrics (Prometheus)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from treadle.telemetry.metrics import Family, text
from treadle_controller.leader import Leader


def make_app(leader: Leader, families: Callable[[], Awaitable[list[Family]]]) -> Starlette:
    """Return the application for one leader; `families` makes its metrics."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        problems = [] if leader.link.up else [leader.link.problem]
        body = {"status": "ok" if not problems else "unavailable", "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200)

    async def metrics(_: Request) -> Response:
        page = await asyncio.to_thread(text, await families())  # of ten thousand loops it is a matter of seconds
        return PlainTextResponse(page, media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])
