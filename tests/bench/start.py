"""How long it takes until something runs: a loop on a warm agent, a loop process, a whole cluster; and a judgement.

apply_to_running_ms  from the Apply call to the report that the loop runs, thread pool, one loop, p50
process_ready_ms     from the supervisor's request for a process to the first execute in it, p50
dev_start_s          from the exec of `wfctl dev` to a message that arrived, which its producer has committed
validate_10k_ms      reading and checking 10,000 nodes in a row, and 10,000 in a circle: the slower of both
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from treadle import workflow
from treadle.v1 import (
    agent_pb2,
    agent_service_pb2,
    event_service_pb2,
    loop_service_pb2,
    workflow_service_pb2,
)
from wfctl import waiting
from wfctl.client import Client
from wfctl.dev.cluster import Cluster, ClusterConfig
from wfctl.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
NODES: Final = 10_000
_PATIENCE_S: Final = 30.0
_TOOK: Final = re.compile(r"([\d.]+) ms after its start")
T = TypeVar("T")


def main(*, quick: bool) -> dict[str, Any]:
    """Measure all four."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        place = Path(folder)
        figures = {"validate_10k_ms": validate_10k_ms()}
        figures["dev_start_s"] = statistics.median(dev_start_s(place / f"dev-{i}") for i in range(2 if quick else 5))
        with cluster(place / "cluster") as client:
            figures["apply_to_running_ms"] = apply_to_running_ms(client, 10 if quick else 50)
            figures["process_ready_ms"] = process_ready_ms(client, 10 if quick else 30)
    return {"bench": "start", "ratios": {}, "figures": {name: round(value, 2) for name, value in figures.items()}}


def validate_10k_ms() -> float:
    """Judge the two largest documents."""
    names = [f"n{i}" for i in range(NODES - 1)]
    row = list(zip(["p", *names], names, strict=False))
    circle = [*row[1:], (names[-1], names[0])]
    return max(_judge(names, row, valid=True), _judge(names, circle, valid=False))


def _judge(names: list[str], pairs: list[tuple[str, str]], *, valid: bool) -> float:
    nodes = [_node("p", "producer", uses="generate"), *(_node(name, "blocking", uses="log") for name in names)]
    links = [{"id": f"{source}-{target}", "source": source, "target": target} for source, target in pairs]
    data = json.dumps({"nodes": nodes, "edges": links}).encode()
    begun = time.perf_counter()
    document = workflow.read_document(data).document
    checked = workflow.check(document, name="large", node_types=None)
    took_ms = (time.perf_counter() - begun) * 1000
    if (checked.compiled is not None) is not valid:
        raise AssertionError(checked.findings[:3])
    return took_ms


def dev_start_s(folder: Path) -> float:
    """Start `wfctl dev` with a producer, a queue and a reader that writes a file; stop when the file is there."""
    folder.mkdir(parents=True)
    document = folder / "first.json"
    nodes = [
        _node("make", "producer", uses="generate", **{"with": {"limit": 1}}),
        _node("put", "queue", queue="first"),
        _node("take", "queue-reader", queue="first"),
        _node("write", "blocking", uses="file.append", **{"with": {"path": str(folder / "arrived")}}),
    ]
    links = [("make", "put"), ("put", "take"), ("take", "write")]
    document.write_text(json.dumps({"nodes": nodes, "edges": [_edge(*pair) for pair in links]}))
    command = [sys.executable, "-m", "wfctl", "dev", str(document), "--port", "0", "--http-port", "0"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'controller'}:{ROOT / 'agent'}"}
    begun = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as dev:
        try:
            _wait(lambda: _has_content(folder / "arrived") or None, lambda: dev.poll() is None)
            return time.perf_counter() - begun
        finally:
            dev.terminate()


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@contextmanager
def cluster(folder: Path) -> Iterator[Client]:
    """Run a cluster of one agent."""
    running = Cluster(ClusterConfig(state_dir=folder, port=0, http_port=0))
    running.start()
    try:
        running.wait_listening(time.sleep)
        with Client(Settings(address=running.address)) as client:
            _wait(lambda: _is_ready(client), lambda: True)
            yield client
    finally:
        running.stop()


def _is_ready(client: Client) -> bool:
    found = client.call(client.agents.ListAgents, agent_service_pb2.ListAgentsRequest()).agents
    return any(agent.state == agent_pb2.AGENT_STATE_READY for agent in found)


def apply_to_running_ms(client: Client, times: int) -> float:
    """Apply a workflow of one thread loop that does nothing, and wait until it is reported as running."""
    took = []
    for number in range(times):
        name = f"idle-{number}"
        begun = time.perf_counter()
        _apply(client, name, "thread")
        took.append((time.perf_counter() - begun) * 1000)
        _delete(client, name)
    return statistics.median(took)


def process_ready_ms(client: Client, times: int) -> float:
    """Kill a loop process again and again, and take the times that its agent tells of each start."""
    _apply(client, "process", "process")
    for number in range(1, times + 1):
        request = loop_service_pb2.GetLoopRequest(namespace="default", workflow="process", loop="make")
        status = client.call(client.loops.GetLoop, request).loop.instances[0].status
        os.kill(status.process_id, signal.SIGKILL)
        _wait(functools.partial(_has_started, client, number + 1), lambda: True)
    took = _starts_ms(client)[1:]  # the first one ever is not warm
    _delete(client, "process")
    return statistics.median(took)


def _has_started(client: Client, times: int) -> bool:
    return len(_starts_ms(client)) >= times


def _starts_ms(client: Client) -> list[float]:
    request = event_service_pb2.ListEventsRequest(namespace="default", workflow="process")
    events = client.call_all(client.events.ListEvents, request).events
    told = (_TOOK.search(event.message) for event in events if event.code == "loop-started")
    return [float(match[1]) for match in told if match is not None]


def _apply(client: Client, name: str, pool: str) -> None:
    """Apply a workflow of one loop, and return as soon as it is reported as running."""
    nodes = [
        _node("make", "producer", uses="generate", pool=pool, interval="1h"),
        _node("tell", "blocking", uses="log"),
    ]
    document = json.dumps({"name": name, "nodes": nodes, "edges": [_edge("make", "tell")]}).encode()
    request = workflow_service_pb2.ApplyWorkflowRequest(namespace="default", name=name, document=document)
    client.call(client.workflows.ApplyWorkflow, request)
    waiting.until(client, name, waiting.is_healthy, timeout_s=_PATIENCE_S)


def _delete(client: Client, name: str) -> None:
    request = workflow_service_pb2.DeleteWorkflowRequest(namespace="default", name=name, with_queues=True)
    client.call(client.workflows.DeleteWorkflow, request)
    waiting.until_gone(client, name, timeout_s=_PATIENCE_S)


def _node(name: str, kind: str, **data: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "data": data}


def _edge(source: str, target: str) -> dict[str, str]:
    return {"id": f"{source}-{target}", "source": source, "target": target}


def _wait(condition: Callable[[], T | None], goes_on: Callable[[], bool]) -> T:
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline or not goes_on():
            raise AssertionError("what is measured did not happen")
        time.sleep(0.001)
    return found
