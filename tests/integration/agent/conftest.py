from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.servers import redis_server


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture
def controller(redis_url: str) -> Iterator[ScriptedController]:
    controller = ScriptedController(redis_url)
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


@pytest.fixture
def start_agent(
    controller: ScriptedController, redis_url: str, tmp_path: Path
) -> Iterator[Callable[..., AgentProcess]]:
    agents: list[AgentProcess] = []

    def start(*arguments: str, **environ: str) -> AgentProcess:
        log = tmp_path / f"agent{len(agents)}.log"
        agent = AgentProcess(f"127.0.0.1:{controller.port}", redis_url, log, *arguments, **environ)
        agents.append(agent)
        hellos = len(controller.hellos)
        controller.wait(lambda: len(controller.hellos) > hellos or agent.process.poll() is not None, "a Hello")
        return agent

    yield start
    for agent in agents:
        agent.clean_up()
        print(agent.text())  # noqa: T201 - shown by pytest when a test fails
