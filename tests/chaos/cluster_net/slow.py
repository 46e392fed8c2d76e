"""A slow link: a proxy that holds back what passes through it, each way, in order."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self


class SlowLink:
    """Listens on `host`, a port of its own, and passes everything to `target` (host:port) after a delay."""

    def __init__(self, host: str, target: str, *, delay_s: float, jitter_s: float, seed: int) -> None:
        self._host, self._target = host, target
        self._delay_s, self._jitter_s = delay_s, jitter_s
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="slow link", daemon=True)
        self._server: asyncio.Server | None = None
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, self._host, 0), self._loop).result()
        self._server = server
        self.address = f"{self._host}:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            there, back = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        passing = [asyncio.ensure_future(self._pass(*pair)) for pair in ((reader, back), (there, writer))]
        # Cancelled when the link is taken down: nobody waits for this task.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(passing)
        for one in passing:
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*passing, return_exceptions=True)
        for writing in (back, writer):
            writing.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on, each chunk when it is due; end the other side when this one has ended."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        sending = loop.create_task(self._send(due, writer))
        last = 0.0
        try:
            while data := await reader.read(65_536):
                last = max(last, loop.time() + self._delay_s + self._jitter_s * (2 * self._chance.random() - 1))
                due.put_nowait((last, data))
            due.put_nowait((last, b""))
            await sending
        finally:
            sending.cancel()

    async def _send(self, due: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        clock: Callable[[], float] = asyncio.get_running_loop().time
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep
        while True:
            at, data = await due.get()
            await pause(max(0.0, at - clock()))
            if not data:
                with contextlib.suppress(OSError):
                    writer.close()
                return
            writer.write(data)
            await writer.drain()
