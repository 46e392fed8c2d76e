"""How fast the controller places loops, how many agents it holds, and how quick it answers meanwhile.

The real controller in its own process with a real store (SQLite, synchronous=FULL) and a real Redis-compatible
server; agents are real gRPC streams, each on a channel of its own, from another process (see control_agents).

place_10k_s    from the accepted Apply of 10,000 loops (its update_time: validated, not yet stored) until the
               last of their assignments is acknowledged by 1,000 agents; best of a few
place_100k_s   the same for 100,000: the sum over ten workflows of 10,000, the largest that a document may hold,
               so that validation is left out here too; agents beat, and have nothing new to tell
agents_held    agents in session that beat at the scaled interval with the status of each of the 10,000 loops that
               they run, none of them lost or asked to come again while it is measured; and with it
get_ms         p99 of GetWorkflow of a workflow of ten loops meanwhile
rss_mib        the controller's resident memory at the end of that
return_1000_s  see control_return: from the start of a controller that was killed until 1,000 agents are back
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import grpc

from tests.bench import control_return
from tests.bench.control_crowd import agents, environment
from tests.servers import redis_server
from treadle.v1 import (
    agent_pb2,
    agent_service_pb2,
    agent_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

LOOPS: Final = 10_000
_START_S: Final = 30.0
_PLACING_AGENTS: Final = 1_000


def main(*, quick: bool) -> dict[str, Any]:
    """Measure all; the full run also places 100,000 loops and holds 5,000 agents."""
    held = 2_000 if quick else 5_000
    figures: dict[str, float] = {}
    with Bench(slots=LOOPS // _PLACING_AGENTS * 10) as bench:
        bench.connect(_PLACING_AGENTS, telling=False)
        took = [bench.place(f"w{number}") for number in range(2 if quick else 10)]
        figures["place_10k_s"] = min(took)
        if not quick:
            figures["place_100k_s"] = sum(took)
    with Bench(slots=LOOPS) as bench:
        bench.connect(held, telling=True)
        bench.place("large")
        figures |= bench.hold(held, seconds=10.0 if quick else 60.0)
    figures["return_1000_s"] = control_return.main()
    return {"bench": "control", "ratios": {}, "figures": {name: round(value, 3) for name, value in figures.items()}}


class Bench:
    """A controller, its Redis, and a process full of agents."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        self._stack = contextlib.ExitStack()
        self._connected = 0
        self._loops = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="treadle-bench-")))
            redis = stack.enter_context(redis_server())
            self.address, self._pid = stack.enter_context(controller(folder, redis.url))
            self._agents = stack.enter_context(agents())
            options = [("grpc.max_receive_message_length", -1)]
            channel = stack.enter_context(grpc.insecure_channel(self.address, options=options))
            self._workflows = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
            self._agent_list = agent_service_pb2_grpc.AgentServiceStub(channel)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self, count: int, *, telling: bool) -> None:
        """Have agents connect; returns when all have their full set. `telling`: their beats carry statuses."""
        order = {"address": self.address, "first": self._connected, "count": count, "slots": self._slots}
        self._agents.tell(do="connect", **order, telling=telling)
        self._connected += count

    def place(self, name: str, loops: int = LOOPS) -> float:
        """Apply a workflow, and return the seconds from its acceptance to the last acknowledgement."""
        self._loops += loops
        document = json.dumps({"name": name, "nodes": [_loop(number) for number in range(loops)], "edges": []})
        request = workflow_service_pb2.ApplyWorkflowRequest(document=document.encode())
        accepted = self._workflows.ApplyWorkflow(request).workflow.update_time
        last: float = self._agents.tell(do="await", loops=self._loops)["at"]
        return last - accepted.seconds - accepted.nanos / 1e9

    def hold(self, agents: int, seconds: float) -> dict[str, float]:
        """Beat for a while and ask for a workflow again and again."""
        self.place("small", 10)
        before, lost = self._agents.tell(do="count"), self._lost()
        request = workflow_service_pb2.GetWorkflowRequest(name="small")
        deadline = time.monotonic() + seconds
        took_ms: list[float] = []
        while time.monotonic() < deadline:
            begun = time.perf_counter()
            self._workflows.GetWorkflow(request)
            took_ms.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.01)
        after = self._agents.tell(do="count")
        beats = (after["beats"] - before["beats"]) / seconds
        if after["sessions"] != agents or after["live"] != agents or self._lost() != lost or self._ready() != agents:
            raise AssertionError(f"of {agents} agents not all were held: {after['live']}, {after['goodbyes'][:3]}")
        return {
            "agents_held": after["live"],
            "beats_per_s": beats,
            "get_ms": statistics.quantiles(took_ms, n=100)[98],
            "rss_mib": _rss_mib(self._pid),
        }

    def _lost(self) -> int:
        return self._in_state(agent_pb2.AGENT_STATE_LOST)

    def _ready(self) -> int:
        return self._in_state(agent_pb2.AGENT_STATE_READY)

    def _in_state(self, state: agent_pb2.AgentState.ValueType) -> int:
        count, token = 0, ""
        while True:
            request = agent_service_pb2.ListAgentsRequest(page_size=1_000, page_token=token)
            answer = self._agent_list.ListAgents(request)
            count += sum(1 for agent in answer.agents if agent.state == state)
            token = answer.next_page_token
            if not token:
                return count


def _loop(number: int) -> dict[str, Any]:
    data = {"uses": "bench.source", "pool": "asyncio"}
    return {"id": f"l{number}", "type": "producer", "position": {"x": 0, "y": 0}, "data": data}


@contextlib.contextmanager
def controller(folder: Path, redis_url: str) -> Iterator[tuple[str, int]]:
    """Run the controller; gives its address and process id."""
    addresses = folder / "addresses.json"
    listen = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--address-file", str(addresses)]
    profile = os.environ.get("TREADLE_BENCH_PROFILE")
    python = [sys.executable, *(["-m", "cProfile", "-o", profile] if profile else [])]
    command = [*python, "-m", "treadle_controller", "--store", f"sqlite:///{folder}/controller.db", *listen]
    with_redis = {**environment(), "TREADLE_CONTROLLER_REDIS": redis_url}
    log = (folder / "controller.log").open("wb")
    with log, subprocess.Popen(command, env=with_redis, stdout=subprocess.DEVNULL, stderr=log) as process:
        try:
            deadline = time.monotonic() + _START_S
            while not addresses.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((folder / "controller.log").read_text())
                time.sleep(0.01)
            yield json.loads(addresses.read_text())["grpc"], process.pid
        finally:
            process.terminate()
            process.wait()


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
