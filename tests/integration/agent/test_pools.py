from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.agent.plans import counting, moving
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from treadle.workflow.plan import Pool

Start = Callable[..., AgentProcess]


def test_loops_of_all_pools_run_and_stop_in_order(controller: ScriptedController, start_agent: Start) -> None:
    agent = start_agent()
    controller.assign(counting("a", "thread", "p1"), moving("b", "asyncio", "p1", "p2"), moving("c", "process", "p2", "p3"))

    for loop in "abc":
        controller.wait_state(loop, "RUNNING")
    controller.wait(lambda: controller.queue("p3").pushed >= 50, "messages went through three pools")

    assert agent.terminate() == 0
    assert controller.farewells == 1
    assert {controller.state(loop) for loop in "abc"} == {"STOPPED"}
    assert agent.gone()
