"""Nodes that hang: what is only told, and what is acted upon. Each takes more than ten seconds: `make chaos`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.agent.conftest import controller, redis_url, start_agent
from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import NODES, POOLS, Kind, Row, misbehaving
from treadle.queues.codec import encode_item
from treadle.workflow.plan import Input, Plan, Pool, Step

__all__ = ["controller", "redis_url", "start_agent"]  # fixtures

Start = Callable[..., AgentProcess]
LATE = str(Path(NODES[0]).with_name("late.py"))

pytestmark = pytest.mark.skipif("MINUTES" not in os.environ, reason="the long form: make chaos")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_hang_without_a_limit_is_told_with_its_place_and_nothing_else_happens(
    controller: ScriptedController,
    start_agent: Start,
    tmp_path: Path,
    pool: Pool,
    *,
    asynchronous: bool,
) -> None:
    start_agent("--nodes", NODES[0], "--slots-thread", "10")
    controller.assign(misbehaving(Row("hangs", Kind.PASSES, asynchronous=asynchronous), pool, tmp_path / "once"))
    controller.do(lambda admin: admin.push("bad-in", [encode_item({"n": n}) for n in range(10)]))

    controller.wait(lambda: "bad" in controller.statuses, "it was started")
    controller.wait(lambda: controller.statuses["bad"].reason.code == "hanging", "the hang is told", 30.0)

    status = controller.statuses["bad"]
    assert controller.state("bad") == "RUNNING"
    assert status.reason.node == "node"
    if not asynchronous or pool == "asyncio":  # elsewhere it is an event loop of its own that sleeps
        assert "misbehaving.py" in status.reason.traceback
    assert status.restarts == 0


@pytest.mark.parametrize("pool", ["thread", "asyncio"])
def test_an_import_that_hangs_is_left_behind_and_its_neighbours_move_on(
    controller: ScriptedController,
    start_agent: Start,
    pool: Pool,
) -> None:
    agent = start_agent("--nodes", LATE)
    controller.assign(replace(counting("good", pool, "good"), interval_s=0.01))
    controller.wait_state("good", "RUNNING")
    steps = (
        Step("source", "producer", uses="generate", params={"limit": 10}),
        Step("late", "blocking", uses="test.late", inputs=(Input(0, None, "source"),)),
        Step("out", "queue", queue="late", inputs=(Input(1, None, "late"),)),
    )
    controller.assign(Plan("w", "late", steps, digest="late-1", pool=pool))

    controller.wait_state("late", "COMPLETED")

    assert ("w/late/0", "import-timeout") in controller.events
    assert [item[0]["n"] for item in controller.peek("late", 100)] == list(range(10))
    numbers = [item[0]["n"] for item in controller.peek("good", 100_000)]
    assert numbers == list(range(len(numbers)))
    assert agent.terminate() == 0
    assert agent.gone()
