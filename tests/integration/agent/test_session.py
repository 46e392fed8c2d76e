from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.test_pools import POOLS, pushed_more, queue_name
from tests.servers import redis_server

Start = Callable[..., AgentProcess]


def start_three(controller: ScriptedController) -> str:
    queue = queue_name("three")
    controller.assign(*(counting(pool, pool, queue + pool) for pool in POOLS))
    for pool in POOLS:
        controller.wait_state(pool, "RUNNING")
    return queue


def test_loops_go_on_when_the_stream_is_cut_and_are_reported_again(
    controller: ScriptedController, start_agent: Start
) -> None:
    start_agent()
    queue = start_three(controller)

    controller.cut()
    controller.wait(lambda: len(controller.hellos) == 2, "the second session")

    running = {status.loop.loop: status for status in controller.hellos[1].running}
    assert running.keys() == set(POOLS)
    for pool in POOLS:
        pushed_more(controller, queue + pool)
        assert controller.statuses[pool].incarnation == 1
    assert controller.hellos[0].boot_id == controller.hellos[1].boot_id


def test_a_controller_that_stops_answering_is_left_and_found_again(
    controller: ScriptedController, start_agent: Start
) -> None:
    agent = start_agent()
    start_three(controller)

    controller.answer_heartbeats = False
    controller.wait(lambda: len(controller.hellos) == 2, "the second session")
    controller.answer_heartbeats = True

    assert "overdue" in agent.text()
    assert all(controller.statuses[pool].incarnation == 1 for pool in POOLS)


def test_a_host_that_dies_while_the_controller_is_away_is_made_good_without_it(
    controller: ScriptedController, start_agent: Start
) -> None:
    agent = start_agent()
    queue = start_three(controller)
    pids = {pool: controller.statuses[pool].process_id for pool in POOLS}

    controller.down()
    for pool in POOLS:
        os.kill(pids[pool], signal.SIGKILL)
        pushed_more(controller, queue + pool, 200)
    controller.up()
    controller.wait(lambda: len(controller.hellos) == 2, "the second session")

    running = {status.loop.loop: status.incarnation for status in controller.hellos[1].running}
    assert running == dict.fromkeys(POOLS, 2), agent.text()


def test_a_loop_that_asks_for_it_stops_by_itself_without_a_controller_while_others_go_on(
    controller: ScriptedController, start_agent: Start
) -> None:
    start_agent()
    queue = queue_name("contact")
    touchy = replace(counting("touchy", "thread", queue + "touchy"), on_lost_contact_s=0.5)
    controller.assign(touchy, counting("calm", "thread", queue + "calm"))
    controller.wait_state("touchy", "RUNNING")
    controller.wait_state("calm", "RUNNING")

    def stands_still() -> bool:
        before = controller.queue(queue + "touchy").pushed
        pushed_more(controller, queue + "calm", 300)
        return bool(controller.queue(queue + "touchy").pushed == before)

    assert not stands_still()
    controller.down()
    controller.wait(stands_still, "the end of the loop that may not run alone")

    controller.up()
    controller.wait(lambda: len(controller.hellos) == 2, "the second session")
    controller.wait_state("touchy", "RUNNING")
    pushed_more(controller, queue + "touchy")
    assert controller.statuses["calm"].incarnation == 1


def test_an_agent_that_finds_another_redis_starts_nothing(controller: ScriptedController, start_agent: Start) -> None:
    controller.redis_id = "another"
    start_agent()
    controller.assign(counting("x", "thread", queue_name("wrong")))

    status = controller.wait_state("x", "BACKOFF")

    assert status.reason.code == "wrong-redis"


def test_loops_say_that_redis_is_away_and_go_on_when_it_is_back(tmp_path: Path) -> None:
    with redis_server(aof="always", folder=tmp_path) as server:
        controller = ScriptedController(server.url)
        controller.start()
        agent = AgentProcess(f"127.0.0.1:{controller.port}", server.url, tmp_path / "agent.log")
        try:
            controller.wait(lambda: controller.hellos, "a Hello")
            queue = start_three(controller)

            server.kill()
            for pool in POOLS:
                assert controller.wait_state(pool, "BACKOFF").reason.code == "redis-unreachable"
            server.start()
            for pool in POOLS:
                controller.wait_state(pool, "RUNNING")
                pushed_more(controller, queue + pool)
        finally:
            agent.clean_up()
            controller.stop()
