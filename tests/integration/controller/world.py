"""A controller daemon as its users meet it: a process of its own, on free ports, with a store and a Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from grpc import aio

from treadle.v1 import (
    agent_service_pb2_grpc,
    event_service_pb2_grpc,
    loop_service_pb2_grpc,
    node_type_service_pb2_grpc,
    queue_service_pb2_grpc,
    workflow_pb2,
    workflow_service_pb2_grpc,
)
from treadle.v1 import workflow_service_pb2 as workflows_pb

_START_S = 30.0
T = TypeVar("T")


class ControllerProcess:
    """Starts the daemon, kills it, starts it again on the same port and store."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.address = ""
        self.http = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.store = f"sqlite:///{folder / 'controller.db'}"
        self._listen = "127.0.0.1:0"

    def command(self, *more: str) -> list[str]:
        listen = ["--listen", self._listen, "--http-listen", "127.0.0.1:0"]
        return [sys.executable, "-m", "treadle_controller", *listen, "--store", self.store, *more]

    def environment(self) -> dict[str, str]:
        root = Path(__file__).parents[3]
        paths = os.pathsep.join([str(root / "controller"), str(root / "agent")])
        return {**os.environ, "PYTHONPATH": paths, "TREADLE_CONTROLLER_REDIS": self.redis_url}

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.launch()
        self.await_serving()

    def launch(self) -> None:
        """Start it."""
        addresses = self.folder / "addresses.json"
        addresses.unlink(missing_ok=True)
        with (self.folder / "controller.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("--address-file", str(addresses)),
                env=self.environment(),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def bound(self) -> dict[str, str] | None:
        """Return where it serves, None before it does."""
        addresses = self.folder / "addresses.json"
        found: dict[str, str] | None = json.loads(addresses.read_text()) if addresses.exists() else None
        return found

    def await_serving(self) -> None:
        bound = self._await(self.bound)
        self.address, self.http = bound["grpc"], bound["http"]
        self._listen = self.address

    def await_log(self, text: str) -> None:
        """Wait until it has logged something."""
        self._await(lambda: text in self.log())

    def _await(self, condition: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + _START_S
        while not (found := condition()):
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the controller did not start:\n{self.log()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        return found

    def wait(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        process, self.process = self.process, None
        return process.wait(_START_S) if process is not None else 0

    def kill(self) -> None:
        """Kill it with -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop it as systemd does; returns its exit code."""
        return self._end(signal.SIGTERM)

    def log(self) -> str:
        return (self.folder / "controller.log").read_text()

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(15)


class Client:
    """The API's services over one channel."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.workflows: Any = workflow_service_pb2_grpc.WorkflowServiceStub(self._channel)
        self.loops: Any = loop_service_pb2_grpc.LoopServiceStub(self._channel)
        self.queues: Any = queue_service_pb2_grpc.QueueServiceStub(self._channel)
        self.agents: Any = agent_service_pb2_grpc.AgentServiceStub(self._channel)
        self.node_types: Any = node_type_service_pb2_grpc.NodeTypeServiceStub(self._channel)
        self.events: Any = event_service_pb2_grpc.EventServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def apply(self, document: dict[str, Any], **fields: Any) -> workflows_pb.ApplyWorkflowResponse:
        request = workflows_pb.ApplyWorkflowRequest(document=json.dumps(document).encode(), **fields)
        response: workflows_pb.ApplyWorkflowResponse = await self.workflows.ApplyWorkflow(request)
        return response

    async def workflow(self, name: str) -> workflow_pb2.Workflow:
        response = await self.workflows.GetWorkflow(workflows_pb.GetWorkflowRequest(name=name))
        found: workflow_pb2.Workflow = response.workflow
        return found

    async def until(
        self, name: str, condition: Callable[[workflow_pb2.Workflow], bool], timeout_s: float = 15.0
    ) -> workflow_pb2.Workflow:
        """Watch a workflow until a condition holds."""
        from treadle.v1 import event_service_pb2

        async with asyncio.timeout(timeout_s):
            call = self.events.WatchWorkflow(event_service_pb2.WatchWorkflowRequest(name=name))
            async for response in call:
                found: workflow_pb2.Workflow = response.workflow
                if condition(found):
                    call.cancel()
                    return found
        raise AssertionError("the watch ended")


def document(name: str, *loops: dict[str, Any], **top: Any) -> dict[str, Any]:
    """Make a workflow from loops, each as `loop` or `reader` gives it."""
    nodes = [node for one in loops for node in one["nodes"]]
    edges = [edge for one in loops for edge in one["edges"]]
    return {"name": name, "nodes": nodes, "edges": edges, **top}


def loop(name: str, *, note: str = "", pushes: str = "", tail: bool = False, **settings: Any) -> dict[str, Any]:
    """A producer with one node, and with a queue node behind it if it pushes."""
    given = {"with": {"note": note}} if note else {}
    kind = "non-blocking" if tail else "blocking"
    nodes = [
        _node(name, "producer", {"uses": "test.source", **given, **settings}),
        _node(f"{name}-work", kind, {"uses": "test.work"}),
    ]
    edges = [_edge(name, f"{name}-work")]
    if tail:
        nodes.append(_node(f"{name}-after", "blocking", {"uses": "test.work"}))
        edges.append(_edge(f"{name}-work", f"{name}-after"))
    if pushes:
        nodes.append(_node(f"{name}-out", "queue", {"queue": pushes}))
        edges.append(_edge(f"{name}-work", f"{name}-out"))
    return {"nodes": nodes, "edges": edges}


def reader(name: str, queue: str, **settings: Any) -> dict[str, Any]:
    """A loop that is fed by a queue."""
    nodes = [
        _node(name, "queue-reader", {"queue": queue, **settings}),
        _node(f"{name}-work", "blocking", {"uses": "test.work"}),
    ]
    return {"nodes": nodes, "edges": [_edge(name, f"{name}-work")]}


def _node(name: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "data": data}


def _edge(source: str, target: str) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target}
