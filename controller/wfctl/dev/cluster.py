"""A whole cluster on this machine: Valkey, the controller and some agents, each a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from treadle.errors import QueueError
from treadle.queues import acl
from treadle.queues.acl import Role
from treadle.queues.embedded import EmbeddedServer
from wfctl.dev.daemon import Daemon
from wfctl.errors import BadUsage, DaemonFailed

_ROLES: Final[tuple[Role, ...]] = ("agent", "controller")
HOST: Final = "127.0.0.1"
PORT: Final = 7420
HTTP_PORT: Final = 7421
_POLL_S: Final = 0.01
_AGENT_STOP_S: Final = 25.0  # above the agent's own deadline, after which it kills what still runs
_CONTROLLER_STOP_S: Final = 10.0
_START_S: Final = 30.0
_CALM_S: Final = 60.0  # a daemon that died more often than this within it is given up
_DEATHS: Final = 5


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What `wfctl dev` starts."""

    agents: int = 1
    namespace: str = "default"
    redis: str | None = None  # None: an embedded server
    state_dir: Path | None = None  # None: a temporary one, removed at the end
    nodes: tuple[str, ...] = ()  # node modules beside the installed ones
    port: int = PORT  # 0: any free one
    http_port: int = HTTP_PORT  # 0: any free one


class Cluster:
    """Starts the processes, starts again those that die, and stops all of them in order.

    `start()`, `watch()` and `stop()` belong to the main thread. `hurry` is asked during a stop: once true, what is
    left is killed.
    """

    def __init__(self, config: ClusterConfig, *, hurry: Callable[[], bool] = lambda: False) -> None:
        self.config = config
        self.folder = Path()
        self.address = ""
        self.http_address = ""
        self.redis: dict[Role, str] = {}  # where the queues are for each kind of daemon, with its password
        self._hurry = hurry
        self._lock: IO[str] | None = None
        self._server: EmbeddedServer | None = None
        self.controller: Daemon | None = None
        self.agents: list[Daemon] = []

    def start(self) -> None:
        """Start all processes; returns before they are ready. Raises WfctlError when it can't be done."""
        self._take_folder()
        self.address = f"{HOST}:{_port(self.config.port, '--port')}"
        self.http_address = f"{HOST}:{_port(self.config.http_port, '--http-port')}"
        given = self.config.redis
        self.redis = {"agent": given, "controller": given} if given is not None else self._start_server()
        self.controller = self._controller()
        self.agents = [self._agent(number) for number in range(1, self.config.agents + 1)]
        for daemon in (self.controller, *self.agents):
            daemon.start()

    def wait_listening(self, pause: Callable[[float], None]) -> None:
        """Wait until the controller takes connections. Raises DaemonFailed with the end of its log."""
        deadline = time.monotonic() + _START_S
        while not _listens(self.address):
            self.watch(restart=False)
            if time.monotonic() > deadline:
                raise DaemonFailed(f"the controller does not listen after {_START_S:g}s\n{self._log_end()}")
            pause(_POLL_S)

    def watch(self, *, restart: bool = True) -> list[str]:
        """Look after the daemons: start again the one that died. Returns a sentence for each that did.

        Raises DaemonFailed when one died too often, or at once without `restart`.
        """
        died = []
        for daemon in (self.controller, *self.agents):
            if daemon is None or daemon.runs:
                continue
            how = f"{daemon.name} ended with {_ending(daemon.exit_code)}"
            recent = [at for at in daemon.starts if at > time.monotonic() - _CALM_S]
            if not restart or len(recent) > _DEATHS:
                raise DaemonFailed(f"{how}; the end of its log:\n{daemon.log_end()}")
            daemon.start()
            died.append(f"{how}; started again")
        return died

    def stop_agents(self) -> None:
        """Stop the agents: their loops finish their iterations, commit and report."""
        for daemon in self.agents:
            daemon.terminate()
        for daemon in self.agents:
            self._await_end(daemon, _AGENT_STOP_S)

    def stop(self) -> None:
        """Stop all: agents, then the controller, then the server. Legal at any time, also twice."""
        self.stop_agents()
        if self.controller is not None:
            self.controller.terminate()
            self._await_end(self.controller, _CONTROLLER_STOP_S)
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._leave_folder()

    def _await_end(self, daemon: Daemon, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while daemon.runs:
            if time.monotonic() > deadline or self._hurry():
                daemon.kill()
            time.sleep(_POLL_S)

    def _controller(self) -> Daemon:
        args = ["--listen", self.address, "--http-listen", self.http_address]
        args += ["--store", f"sqlite:///{self.folder / 'controller.sqlite'}"]
        # The URL holds a password: it is no argument, which everybody on this machine could read.
        env = {**os.environ, "TREADLE_CONTROLLER_REDIS": self.redis["controller"]}
        env["TREADLE_CONTROLLER_NAMESPACE"] = self.config.namespace
        return Daemon("controller", "treadle_controller", args, env=env, log=self.folder / "logs" / "controller.log")

    def _agent(self, number: int) -> Daemon:
        name = f"dev-{number}"
        env = {
            **os.environ,
            "TREADLE_AGENT_CONTROLLERS": json.dumps([self.address]),
            "TREADLE_AGENT_NAME": name,
            "TREADLE_AGENT_NODES": json.dumps(self.config.nodes),
            "TREADLE_AGENT_REDIS": self.redis["agent"],
            "TREADLE_AGENT_STATE_DIR": str(self.folder / "agents" / name),
        }
        (self.folder / "agents" / name).mkdir(parents=True, exist_ok=True)
        return Daemon(f"agent {name}", "treadle_agent", [], env=env, log=self.folder / "logs" / f"{name}.log")

    def _start_server(self) -> dict[Role, str]:
        """Start our own server, on which each kind of daemon is a user with no more rights than it needs."""
        names: dict[Role, str] = {role: acl.user_name(role, self.config.namespace) for role in _ROLES}
        users = {name: acl.rules(role, self.config.namespace) for role, name in names.items()}
        self._server = EmbeddedServer(self.folder / "redis", users=users)
        try:
            self._server.start()
        except QueueError as exc:
            raise DaemonFailed(exc.message) from exc
        return {role: self._server.url_of(name) for role, name in names.items()}

    def _take_folder(self) -> None:
        """Make the state folder ours: two servers over one append-only file would ruin it."""
        if self.config.state_dir is None:
            self.folder = Path(tempfile.mkdtemp(prefix="treadle-dev-"))
            return
        self.folder = self.config.state_dir.resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            self._lock = (self.folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BadUsage(f"another `wfctl dev` uses {self.folder}; stop it, or give another --state-dir") from exc
        except OSError as exc:
            raise BadUsage(f"{self.folder} can't be used: {exc.strerror or exc}") from exc

    def _leave_folder(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self.config.state_dir is None and self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _log_end(self) -> str:
        return "" if self.controller is None else self.controller.log_end()


def _port(wanted: int, option: str) -> int:
    """Return a free port of the loopback interface. Raises BadUsage when the wanted one is taken."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections only linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as exc:
            raise BadUsage(
                f"port {wanted} can't be used ({exc.strerror}), perhaps by another `wfctl dev`; "
                f"stop that, or give {option} 0 for any free one"
            ) from exc
        port: int = probe.getsockname()[1]
    return port


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0) as made:
            # A free port of the range that clients get theirs from may be answered by the asking socket itself.
            return bool(made.getsockname() != made.getpeername())
    except OSError:
        return False


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
