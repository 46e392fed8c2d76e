"""A TCP proxy that loses answers: what was asked is done, the connection dies, and nobody is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class CuttingProxy:
    """See the module. Made by `cutting_proxy`."""

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._login = parts.netloc.rpartition("@")[0]
        self._pattern = b""
        self._left = 0
        self._every = 0
        self._seen = 0
        self.cuts = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{self._login}@127.0.0.1:{self.port}"

    def cut(self, pattern: bytes, times: int = 1, every: int = 1) -> None:
        """Lose the answers of the next calls that hold a pattern: `times` of them, of each `every`-th."""
        self._pattern, self._left, self._every, self._seen = pattern, times, every, 0

    def serve(self, ready: threading.Event) -> None:
        """Serve until stopped."""
        self._loop.run_until_complete(self._main(ready))
        self._loop.close()

    async def _main(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._end.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """End `serve`."""
        self._loop.call_soon_threadsafe(self._end.set)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        doomed = asyncio.Event()
        pumps = [
            asyncio.ensure_future(self._ask(reader, up_writer, doomed)),
            asyncio.ensure_future(self._answer(up_reader, writer, doomed)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, up_writer):
                end.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if self._left and self._pattern in data:
                self._seen += 1
                if self._seen % self._every == 0:
                    self._left -= 1
                    doomed.set()
            writer.write(data)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if doomed.is_set():
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def cutting_proxy(target_url: str) -> Iterator[CuttingProxy]:
    """Run a proxy in front of a server."""
    proxy = CuttingProxy(target_url)
    ready = threading.Event()
    thread = threading.Thread(target=proxy.serve, args=(ready,), name="cutting proxy")
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join()
