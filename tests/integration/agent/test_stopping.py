"""An agent stops soon, whoever does not answer it: a forkserver that stands still, a log that nobody reads."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import MESSAGES, NODES, ROWS, misbehaving
from treadle.queues.codec import encode_item
from treadle.workflow.plan import Plan
from treadle_agent.errors import SpawnFailed
from treadle_agent.setup import Setup
from treadle_agent.supervisor.spawner import Spawner

PRINTS = next(row for row in ROWS if row.how == "prints megabytes")
STOPPED = "is being stopped"


def test_a_stop_does_not_wait_for_a_forkserver_that_loads() -> None:
    async def stop_early() -> None:
        spawner = Spawner()
        spawner.launch()
        os.kill(spawner.pid, signal.SIGSTOP)
        starting = asyncio.create_task(spawner.ready())
        await asyncio.sleep(0)
        await spawner.stop()
        await starting

    with pytest.raises(SpawnFailed, match=STOPPED):
        asyncio.run(stop_early())


def test_a_stop_does_not_wait_for_a_fork_that_does_not_come() -> None:
    setup = Setup(request=0, role="catalog", marker="m", agent="a", redis="", log_level="info", nodes=[])

    async def stop_while_it_forks(fd: int) -> None:
        spawner = Spawner()
        spawner.launch()
        await spawner.ready()
        os.kill(spawner.pid, signal.SIGSTOP)
        forking = asyncio.create_task(spawner.spawn(setup, [fd] * 4))
        await asyncio.sleep(0)
        await spawner.stop()
        await forking

    with Path(os.devnull).open("rb") as nothing, pytest.raises(SpawnFailed, match=STOPPED):
        asyncio.run(stop_while_it_forks(nothing.fileno()))


def feed(controller: ScriptedController, plan: Plan) -> None:
    """Have a loop work until all is through."""
    controller.assign(plan)
    items = [encode_item({"n": n}) for n in range(MESSAGES)]
    controller.do(lambda admin: admin.push(f"{plan.loop}-in", items))
    controller.wait(lambda: len(controller.peek(f"{plan.loop}-out", 100)) == MESSAGES, "all came through")


def test_megabytes_that_are_printed_into_a_log_that_nobody_reads_hold_up_nothing(
    controller: ScriptedController, redis_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)  # it is there, and reads nothing
    agent = AgentProcess(f"127.0.0.1:{controller.port}", redis_url, log, "--nodes", NODES[0])
    try:
        controller.wait(lambda: controller.hellos, "a Hello")
        feed(controller, misbehaving(PRINTS, "process", tmp_path / "once", name="own"))
        feed(controller, misbehaving(PRINTS, "thread", tmp_path / "once", name="shared"))

        assert agent.terminate() == 0
        assert agent.gone()
    finally:
        agent.clean_up()
        os.close(reader)
