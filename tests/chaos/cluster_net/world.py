"""A cluster of real daemons, each agent on a host of its own, that runs a counting ledger; and its faults.

The ledger: `feed` counts and pushes, `hand` passes on, and what arrives in the queue `ledger` is 0, 1, 2, ... as long
as nothing is lost (I1) and nothing doubled (I2). Epochs are read from Redis while everything runs (I3).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import redis

from tests.acceptance.running import MARK, marked
from tests.chaos.cluster_net.net import Net
from tests.chaos.cluster_net.reading import payloads
from tests.servers import TestServer
from treadle.queues.embedded import find_binary
from treadle.queues.keys import Keys
from treadle.queues.tenure import LoopKey
from treadle.v1 import agent_pb2, agent_service_pb2, event_service_pb2, workflow_pb2, workflow_service_pb2
from wfctl.client import Client
from wfctl.errors import Unreachable, WfctlError
from wfctl.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[3]
NODES: Final = Path(__file__).with_name("ledger_nodes.py")
FEED: Final = LoopKey("ledger", "feed", 0)
HAND: Final = LoopKey("ledger", "hand", 0)
_KEYS: Final = Keys("default")
_PATIENCE_S: Final = 40.0
_GRACE_S: Final = 11.5  # 8 s and a lease, as control-plane.md has it
T = TypeVar("T")


def document(*, pool: str = "thread", interval: str = "5ms", middle: str = "ledger.hand", **top: Any) -> dict[str, Any]:
    """Return the ledger workflow."""
    unbounded = {"limits": {"messages": None, "bytes": None}}
    nodes = [
        _node("feed", "producer", uses="ledger.count", interval=interval, pool=pool),
        _node("feed-hand", "blocking", uses=middle),
        _node("out", "queue", queue="numbers"),
        _node("hand", "queue-reader", queue="numbers", pool=pool),
        _node("hand-hand", "blocking", uses="ledger.hand"),
        _node("book", "queue", queue="ledger", external=True, **unbounded),
    ]
    links = [("feed", "feed-hand"), ("feed-hand", "out"), ("hand", "hand-hand"), ("hand-hand", "book")]
    edges = [{"id": f"{source}-{target}", "source": source, "target": target} for source, target in links]
    return {"name": "ledger", "nodes": nodes, "edges": edges, **top}


def _node(name: str, kind: str, **data: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "data": data}


class _Server(TestServer):
    """A server that hosts of the net reach, too."""

    def __init__(self, folder: Path, hub: str) -> None:
        super().__init__(folder, binary=find_binary(), fsync="everysec")
        self.hub = hub

    def _config(self) -> str:
        return super()._config().replace("bind 127.0.0.1", f"bind 127.0.0.1 {self.hub}")


class World:
    """See the module. Made by `world`."""

    def __init__(self, folder: Path, net: Net | None, agents: int = 3) -> None:
        self.folder = folder
        self.net = net
        self.hub = net.hub if net is not None else "127.0.0.1"
        self.names = net.hosts if net is not None else [f"a{number}" for number in range(agents)]
        self.mark = uuid.uuid4().hex
        self.server = _Server(folder / "redis", self.hub) if net is not None else TestServer(folder / "redis")
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.via: dict[str, str] = {}  # agents that reach the controller through a proxy
        self.builds: dict[str, Path] = {}  # the source trees of daemons that run another than this one, by name
        self.controller: subprocess.Popen[bytes] | None = None
        self.address = ""
        self._listen = f"{self.hub}:0"
        self._judges_from = 0.0
        self._closing = contextlib.ExitStack()

    # Processes.

    def start(self) -> None:
        self.server.start()
        self.redis = self._closing.enter_context(redis.Redis.from_url(self.server.url))
        self.start_controller()
        for name in self.names:
            self.start_agent(name)
        self.client = self._closing.enter_context(Client(Settings(address=self.address)))
        self.until(lambda: len(self.ready()) == len(self.names), "all agents are ready")

    def stop(self) -> None:
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in (*self.agents.values(), self.controller):
            if process is not None:
                process.wait()
        self._closing.close()
        self.server.kill()

    def start_controller(self) -> None:
        file = self.folder / "addresses.json"
        file.unlink(missing_ok=True)
        command = ["--listen", self._listen, "--http-listen", "127.0.0.1:0", "--address-file", str(file)]
        command += ["--store", f"sqlite:///{self.folder / 'controller.db'}"]
        env = {"TREADLE_CONTROLLER_REDIS": self.server.url, "TREADLE_CONTROLLER_INSECURE": "true"}
        self.controller = self._spawn("controller", ["treadle_controller", *command], env)
        self.until(file.exists, "the controller serves")
        self.address = self._listen = json.loads(file.read_text())["grpc"]
        self._judges_from = time.monotonic() + _GRACE_S

    def start_agent(self, name: str) -> None:
        old = self.agents.pop(name, None)
        if old is not None:
            old.wait()
        env = {
            "TREADLE_AGENT_NAME": name,
            "TREADLE_AGENT_CONTROLLERS": self.via.get(name, self.address),
            "TREADLE_AGENT_REDIS": self.server.url.replace("127.0.0.1", self.hub),
            "TREADLE_AGENT_NODES": str(NODES),
            "TREADLE_AGENT_INSECURE": "true",
        }
        self.agents[name] = self._spawn(name, ["treadle_agent"], {**env, MARK: f"{self.mark}"}, host=name)

    def kill(self, name: str) -> None:
        """Kill an agent's process with -9."""
        self.agents[name].kill()

    def outlast_grace(self) -> None:
        """Wait until the controller judges agents: not before they had time to come back after its start."""
        time.sleep(max(0.0, self._judges_from - time.monotonic()))

    def stop_agent(self, name: str) -> None:
        """Stop an agent as systemd does; returns at once."""
        self.agents[name].terminate()

    def await_end(self, name: str, timeout_s: float = 30.0) -> int:
        """Wait until a stopped agent has ended; returns its exit code."""
        try:
            return self.agents[name].wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"agent {name} does not end within {timeout_s:g} s\n{self.logs()}") from exc

    def restart_agent(self, name: str) -> None:
        """Start a killed or stopped agent again, and wait until it is ready."""
        self.start_agent(name)
        self.until(lambda: len(self.ready()) == len(self.names), f"agent {name} is back")

    def kill_controller(self) -> None:
        if self.controller is not None:
            self.controller.kill()
            self.controller.wait()

    def stop_controller(self) -> None:
        """Stop the controller as systemd does."""
        if self.controller is not None:
            self.controller.terminate()
            self.controller.wait()

    def pids(self, name: str) -> list[int]:
        """Return all processes of an agent."""
        wanted = f"TREADLE_AGENT_NAME={name}\0".encode()
        return [pid for pid in marked(self.mark) if wanted in _environ(pid)]

    def freeze(self, name: str) -> list[int]:
        """Stop all processes of an agent where they are; returns them."""
        pids = self.pids(name)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def _spawn(self, name: str, module: list[str], more: dict[str, str], *, host: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *module]
        if host and self.net is not None:
            command = self.net.command(host, command)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TREADLE_", "WF_"))}
        build = self.builds.get(name, ROOT)
        env = {**kept, "PYTHONPATH": f"{build / 'controller'}:{build / 'agent'}", MARK: self.mark, **more}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    # What is seen.

    def ready(self) -> list[str]:
        return list(self.versions())

    def versions(self) -> dict[str, str]:
        """Return the versions of the agents that are ready."""
        found = self.client.call(self.client.agents.ListAgents, agent_service_pb2.ListAgentsRequest()).agents
        return {agent.name: agent.version for agent in found if agent.state == agent_pb2.AGENT_STATE_READY}

    def workflow(self) -> workflow_pb2.Workflow:
        request = workflow_service_pb2.GetWorkflowRequest(name="ledger")
        return self.client.call(self.client.workflows.GetWorkflow, request).workflow

    def holder(self, loop: LoopKey) -> str:
        return next(one.instances[0].agent for one in self.workflow().loops if one.name == loop.loop)

    def apply(self, wanted: dict[str, Any]) -> workflow_service_pb2.ApplyWorkflowResponse:
        request = workflow_service_pb2.ApplyWorkflowRequest(document=json.dumps(wanted).encode())
        return self.client.call(self.client.workflows.ApplyWorkflow, request)

    def events(self, code: str) -> list[str]:
        """Return the names that an event was about."""
        request = event_service_pb2.ListEventsRequest()
        return [
            one.name for one in self.client.call_all(self.client.events.ListEvents, request).events if one.code == code
        ]

    def tenure(self, loop: LoopKey) -> tuple[int, int, int]:
        """Return a loop's epoch, incarnation and iteration, from Redis."""
        found = self.redis.hmget(_KEYS.loop(loop), "epoch", "inc", "iteration")
        epoch, incarnation, iteration = (int(one or 0) for one in found)
        return epoch, incarnation, iteration

    def until(self, condition: Callable[[], T], what: str, timeout_s: float = _PATIENCE_S) -> T:
        """Return the first true value of a condition; fail with what was waited for when the time is over."""
        deadline = time.monotonic() + timeout_s
        while not (value := self._look(condition)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{self.logs()}")
            time.sleep(0.003)
        return value

    @staticmethod
    def _look(condition: Callable[[], T]) -> T | None:
        try:
            return condition()
        except Unreachable:  # the controller that was killed, on a connection of before
            return None

    def until_commits(self, loop: LoopKey, timeout_s: float = _PATIENCE_S) -> None:
        """Wait until a loop has committed some more."""
        before = self.tenure(loop)[2]
        self.until(lambda: self.tenure(loop)[2] > before + 2, f"{loop} commits", timeout_s)

    def next_commit_s(self, loop: LoopKey, fault: Callable[[], object], timeout_s: float = _PATIENCE_S) -> float:
        """Do harm, and return how long it takes until the loop commits in a new life: another epoch or incarnation."""
        before = self.tenure(loop)[:2]
        begun = time.monotonic()
        fault()
        last: list[tuple[int, int, int]] = []

        def commits_anew() -> bool:
            now = self.tenure(loop)
            if now[:2] == before:
                return False
            last.append(now)
            return now[2] > last[0][2]

        self.until(commits_anew, f"{loop} commits again", timeout_s)
        return time.monotonic() - begun

    def check_ledger(self, at_least: int = 1) -> int:
        """Stop counting, let everything arrive, and see that the ledger holds each number once, in order."""
        self.apply(document(interval="1h"))
        self.until(self._is_still, "everything has arrived")
        numbers = self.numbers()
        fed = self.tenure(FEED)[2]
        assert numbers == list(range(len(numbers))), _flaws(numbers)
        assert len(numbers) == fed >= at_least, f"{fed} were counted, {len(numbers)} have arrived"
        return fed

    def numbers(self) -> list[int]:
        """Return what has arrived in the ledger."""
        return [payload["n"] for payload in payloads(self.server.url, "ledger")]

    def _is_still(self) -> bool:
        seen = self.workflow()
        running = all(one.state == 40 and one.instances[0].status.epoch == one.instances[0].epoch for one in seen.loops)
        return running and self.tenure(FEED)[2] == self.tenure(HAND)[2] and seen.rollout.state == 20

    def logs(self) -> str:
        """Return the ends of all logs."""
        files = sorted(self.folder.glob("*.log"))
        return self._states() + "\n".join(
            f"--- {file.name}\n" + "\n".join(file.read_text().splitlines()[-25:]) for file in files
        )

    def _states(self) -> str:
        """Return what the controller thinks of each loop, and what Redis knows of it."""
        try:
            seen = self.workflow()
        except WfctlError as exc:
            return f"the controller does not say: {exc.message}\n"
        lines = [f"revision {seen.revision}, rollout {seen.rollout.state}"]
        for one in seen.loops:
            (instance,) = one.instances
            status, tenure = instance.status, self.tenure(LoopKey("ledger", one.name, 0))
            about = f"{status.state} of epoch {status.epoch}.{status.incarnation} at {status.sequence}"
            about += f", {one.reason.message}"
            lines.append(f"{one.name} on {instance.agent or 'nobody'} epoch {instance.epoch}: {about}; Redis {tenure}")
        return "\n".join(lines) + "\n"


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _flaws(numbers: list[int]) -> str:
    missing = sorted(set(range(max(numbers, default=0))) - set(numbers))[:10]
    doubled = sorted({n for n in numbers if numbers.count(n) > 1})[:10] if len(numbers) < 20_000 else "?"
    return f"{len(numbers)} numbers; missing {missing}, doubled {doubled}, or out of order"


@contextlib.contextmanager
def world(*, net: bool, agents: int = 3) -> Iterator[World]:
    """Run a cluster for the length of a block; with `net` each agent has a host of its own."""
    with tempfile.TemporaryDirectory(prefix="treadle-net-") as folder, contextlib.ExitStack() as stack:
        made = World(Path(folder), stack.enter_context(Net(agents)) if net else None, agents)
        try:
            made.start()
            yield made
        finally:
            made.stop()
