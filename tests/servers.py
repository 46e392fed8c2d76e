"""Real servers for tests, on free ports, gone with the test.

with redis_server() as server:            # Valkey of the wheel, nothing on disk
with redis_server("redis", aof="always", folder=tmp_path) as server:
    server.url; server.kill(); server.start()   # kill -9, and the same port, password and files again
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from treadle.queues.embedded import EmbeddedServer, server_version, wheel_binary

KINDS = ("valkey", "redis")


def binary_of(kind: str) -> str | None:
    """Return the server binary of a kind, None when the machine has none."""
    if kind == "valkey":
        return wheel_binary()
    path = shutil.which("redis-server")
    version = server_version(path) if path else None
    return path if version and version[0] == "redis" and version[1] >= (7, 0) else None


class TestServer(EmbeddedServer):
    """An embedded server that can be treated badly."""

    __test__ = False

    def kill(self) -> None:
        """Kill it with -9, as a crash of its host would: with the child that may be writing its log anew."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # somebody else was quicker
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def pause(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid or 0, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid or 0, signal.SIGCONT)

    def keep(self) -> Path:
        """Copy its append-only log as it is now; return where it is kept."""
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        self.pause()
        shutil.copytree(self.folder / "appendonlydir", kept)
        self.resume()
        return kept

    def put_back(self, kept: Path) -> None:
        """Give it the log of earlier. It has to be dead."""
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(kept, self.folder / "appendonlydir")


def _folder() -> tempfile.TemporaryDirectory[str]:
    # A child of the server may be dying, and still be in its last write.
    return tempfile.TemporaryDirectory(prefix="treadle-redis-", ignore_cleanup_errors=True)


@contextlib.contextmanager
def redis_server(kind: str = "valkey", *, aof: str = "off", folder: Path | None = None) -> Iterator[TestServer]:
    """Run a server; `aof` is off, no, everysec or always. Raises LookupError when the machine has none of this kind."""
    binary = binary_of(kind)
    if binary is None:
        raise LookupError(kind)
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(_folder()))
        server = TestServer(place, binary=binary, fsync=aof)
        server.start()
        try:
            yield server
        finally:
            server.kill()
