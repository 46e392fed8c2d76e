from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import AT, NODES
from tests.integration.agent.test_pools import POOLS, pushed_more, queue_name
from tests.servers import redis_server

Start = Callable[..., AgentProcess]
DEATHS = ("host-died", "host-stalled")


def start_three(controller: ScriptedController) -> str:
    queue = queue_name("three")
    controller.assign(*(counting(pool, pool, queue + pool) for pool in POOLS))
    for pool in POOLS:
        controller.wait_state(pool, "RUNNING")
    return queue


def count_of(controller: ScriptedController, loop: str, *codes: str) -> int:
    """Return how many events of some kinds a loop has."""
    return sum(controller.events.count((f"w/{loop}/0", code)) for code in codes)


def hangs(controller: ScriptedController, loop: str) -> bool:
    """Whether a loop is inside the iteration that never ends."""
    status = controller.statuses.get(loop)
    return status is not None and status.committed == AT and status.activity.code == "working"


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

    running = {status.loop.loop: status for status in controller.hellos[1].running}
    assert running.keys() == set(POOLS)
    controller.wait(lambda: all(count_of(controller, pool, *DEATHS) for pool in POOLS), "what became of them is told")
    for pool in POOLS:
        # At least ours. On a machine that is very busy its host may have been taken for stalled as well.
        assert running[pool].restarts == count_of(controller, pool, *DEATHS), agent.text()
        most = 1 + running[pool].restarts + count_of(controller, pool, "loop-isolated")  # those come back to their pool
        assert 1 + running[pool].restarts <= running[pool].incarnation <= most, agent.text()


def test_a_loop_that_was_inside_an_iteration_restarts_alone_and_comes_back_to_its_pool_and_idle_ones_do_not(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent("--nodes", NODES[0])
    idle, busy, cured = queue_name("idle"), queue_name("busy"), tmp_path / "cured"
    controller.assign(replace(counting("idle", "thread", idle), interval_s=3600.0))
    how = {"how": "hangs", "at": AT, "cured": str(cured)}
    controller.assign(counting("busy", "thread", busy, uses="test.misbehave-producer", **how))
    controller.wait(lambda: controller.queue(idle).pushed == 1, "it has nothing more to do")
    controller.wait(lambda: hangs(controller, "busy"), "it hangs")
    host = controller.statuses["idle"].process_id
    assert host == controller.statuses["busy"].process_id

    cured.touch()
    os.kill(host, signal.SIGKILL)

    controller.wait(lambda: controller.statuses["busy"].incarnation == 3, "it comes back to its pool")
    controller.wait(lambda: controller.statuses["idle"].incarnation >= 2, "its neighbour is there again")
    for loop in ("idle", "busy"):
        controller.wait_state(loop, "RUNNING")
    pushed_more(controller, busy)
    assert controller.statuses["busy"].process_id == controller.statuses["idle"].process_id
    assert {loop: controller.statuses[loop].restarts for loop in ("idle", "busy")} == {"idle": 1, "busy": 1}
    assert controller.statuses["idle"].incarnation == 2, agent.text()
    told = {loop: count_of(controller, loop, "loop-isolated") for loop in ("idle", "busy")}
    assert told == {"idle": 0, "busy": 1}
    assert agent.terminate() == 0


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
