"""What the tests of wfctl share: running it in this process, and a controller that answers as told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from treadle.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    loop_service_pb2,
    loop_service_pb2_grpc,
    queue_service_pb2,
    queue_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from wfctl.__main__ import run


@dataclass(frozen=True)
class Ran:
    """What a run of wfctl came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def wfctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Return a function that runs wfctl in this process, away from the user's own configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*argv: str) -> Ran:
        code = run(argv)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@dataclass
class Controller:
    """Answers calls with prepared messages, or aborts with prepared statuses; remembers the requests."""

    address: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        prepared = self.answers.get(method)
        if callable(prepared):
            return prepared(request, context)
        if prepared is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"nothing prepared for {method}")
        return prepared


_SERVICES = {
    "AgentService": (agent_service_pb2, agent_service_pb2_grpc),
    "EventService": (event_service_pb2, event_service_pb2_grpc),
    "LoopService": (loop_service_pb2, loop_service_pb2_grpc),
    "QueueService": (queue_service_pb2, queue_service_pb2_grpc),
    "WorkflowService": (workflow_service_pb2, workflow_service_pb2_grpc),
}


def _servicer(controller: Controller, base: type) -> Any:
    def method(name: str) -> Any:
        return lambda self, request, context: controller.answer(name, request, context)

    return type(base.__name__, (base,), {name: method(name) for name in vars(base) if not name.startswith("_")})()


@pytest.fixture
def controller() -> Iterator[Controller]:
    """Return a controller on a real socket that answers as told."""
    told = Controller()
    server = grpc.server(ThreadPoolExecutor(4))
    for name, (_, module) in _SERVICES.items():
        register = getattr(module, f"add_{name}Servicer_to_server")
        register(_servicer(told, getattr(module, f"{name}Servicer")), server)
    told.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield told
    server.stop(None).wait()
