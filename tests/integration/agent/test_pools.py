from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.agent.plans import counting, moving
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from treadle.v1 import loop_pb2
from treadle.workflow.plan import Pool, RestartPolicy

Start = Callable[..., AgentProcess]
NODES = str(Path(__file__).with_name("awkward_nodes.py"))
POOLS: tuple[Pool, ...] = ("thread", "process", "asyncio")


def queue_name(test: str) -> str:
    return f"q-{test}-{os.urandom(4).hex()}"


def pushed_more(controller: ScriptedController, queue: str, more: int = 20) -> None:
    before = controller.queue(queue).pushed
    controller.wait(lambda: controller.queue(queue).pushed >= before + more, f"{queue} grows")


def test_loops_of_all_pools_run_and_stop_in_order(controller: ScriptedController, start_agent: Start) -> None:
    agent = start_agent()
    one, two, three = (queue_name("order") for _ in range(3))
    controller.assign(
        counting("a", "thread", one), moving("b", "asyncio", one, two), moving("c", "process", two, three)
    )

    for loop in "abc":
        controller.wait_state(loop, "RUNNING")
    pushed_more(controller, three, 50)

    assert agent.terminate() == 0
    assert controller.farewells == 1
    assert {controller.state(loop) for loop in "abc"} == {"STOPPED"}
    assert agent.gone()


def living(pid: int) -> int:
    """Return a process id if there is such a process, else 0."""
    return pid if Path(f"/proc/{pid}").exists() else 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_killed_host_loses_and_doubles_nothing_and_charges_nobody(
    controller: ScriptedController, start_agent: Start, pool: Pool
) -> None:
    start_agent()
    queue = queue_name("kill")
    controller.assign(counting("k", pool, queue, limit=1500))
    controller.wait_state("k", "RUNNING")
    for _ in range(7):
        controller.wait_state("k", "RUNNING")
        pushed_more(controller, queue, 5)
        incarnation = controller.statuses["k"].incarnation
        # The last word of the host before may come after its successor's first: only who lives can be killed.
        os.kill(controller.wait(lambda: living(controller.statuses["k"].process_id), "a living host"), signal.SIGKILL)
        controller.wait(lambda: controller.statuses["k"].incarnation > incarnation, "another incarnation")  # noqa: B023

    status = controller.wait_state("k", "COMPLETED")
    assert [item[0]["n"] for item in controller.peek(queue, 2000)] == list(range(1500))
    assert status.restarts == 7
    assert ("k", "ERROR") not in controller.history


@pytest.mark.parametrize("pool", POOLS)
def test_a_node_that_raises_goes_through_backoff_to_running(
    controller: ScriptedController, start_agent: Start, tmp_path: Path, pool: Pool
) -> None:
    start_agent("--nodes", NODES)
    flag = tmp_path / "flag"
    flag.touch()
    queue = queue_name("raise")
    controller.assign(counting("r", pool, queue, uses="test.awkward", flag=str(flag)))

    # The first restart is at once, the second waits: only then BACKOFF lasts.
    status = controller.wait_state("r", "BACKOFF")
    assert status.reason.node == "source"
    assert status.reason.message == "ValueError: as the test wants it"
    assert "_misbehave" in status.reason.traceback
    flag.unlink()
    controller.wait_state("r", "RUNNING")
    pushed_more(controller, queue)
    assert ("w/r/0", "loop-failed") in controller.events


def test_a_loop_that_fails_too_often_is_in_error_until_somebody_restarts_it(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    start_agent("--nodes", NODES)
    flag = tmp_path / "flag"
    flag.touch()
    queue = queue_name("error")
    plan = counting("e", "thread", queue, uses="test.awkward", flag=str(flag))
    controller.assign(replace(plan, restart=RestartPolicy(initial_backoff_s=0.01, max_restarts=3)))

    status = controller.wait_state("e", "ERROR")
    assert "4 times" in status.reason.message
    flag.unlink()
    controller.change("e", restart_generation=1)
    controller.wait_state("e", "RUNNING")


def test_a_segfault_takes_only_the_loops_of_its_own_host(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    start_agent("--nodes", NODES)
    flag = tmp_path / "flag"
    mine, other = queue_name("segv"), queue_name("innocent")
    controller.assign(
        counting("bad", "process", mine, uses="test.awkward", flag=str(flag), how="segfault"),
        counting("good", "process", other),
    )
    controller.wait_state("bad", "RUNNING")
    controller.wait_state("good", "RUNNING")
    flag.touch()
    status = controller.wait_state("bad", "BACKOFF")
    flag.unlink()

    assert status.reason.code == "process-died"
    assert controller.statuses["good"].incarnation == 1
    controller.wait_state("bad", "RUNNING")


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("unshowable", "exception"),
        ("surrogate", "exception"),
        ("sys.exit", "exception"),
        ("os._exit", "process-died"),
        ("close everything", "process-died"),
        ("talk nonsense", "process-died"),
    ],
)
def test_whatever_a_node_does_its_loop_is_charged_and_comes_back(
    controller: ScriptedController, start_agent: Start, tmp_path: Path, how: str, code: str
) -> None:
    start_agent("--nodes", NODES)
    flag = tmp_path / "flag"
    flag.touch()
    queue = queue_name("awkward")
    controller.assign(counting("w", "process", queue, uses="test.awkward", flag=str(flag), how=how))

    status = controller.wait_state("w", "BACKOFF")
    flag.unlink()

    assert status.reason.code == code
    controller.wait_state("w", "RUNNING")
    pushed_more(controller, queue)


@pytest.mark.parametrize("pool", ["thread", "asyncio"])
def test_a_shared_host_that_a_node_ends_is_replaced_and_its_innocent_loops_go_on(
    controller: ScriptedController, start_agent: Start, tmp_path: Path, pool: Pool
) -> None:
    start_agent("--nodes", NODES)
    flag = tmp_path / "flag"
    queue = queue_name("innocent")
    controller.assign(
        counting("bad", pool, queue_name("bad"), uses="test.awkward", flag=str(flag), how="os._exit"),
        counting("good", pool, queue),
    )
    controller.wait_state("bad", "RUNNING")
    controller.wait_state("good", "RUNNING")
    flag.touch()
    status = controller.wait_state("bad", "BACKOFF")
    flag.unlink()

    # The second death was its own alone: it had been started in a process of its own.
    assert status.reason.code in {"host-died", "process-died"}
    controller.wait_state("bad", "RUNNING")
    pushed_more(controller, queue)
    assert controller.statuses["good"].incarnation == 2
    assert "ERROR" not in {state for _, state in controller.history}
    numbers = [item[0]["n"] for item in controller.peek(queue, 10_000)]
    assert numbers == list(range(len(numbers)))


def test_pausing_restarting_and_a_new_epoch_act_on_a_running_loop(
    controller: ScriptedController, start_agent: Start
) -> None:
    start_agent()
    queue = queue_name("desired")
    controller.assign(counting("d", "asyncio", queue))
    first = controller.wait_state("d", "RUNNING")

    controller.change("d", desired_state=loop_pb2.DESIRED_STATE_PAUSED)
    controller.wait_state("d", "PAUSED")
    controller.change("d", desired_state=loop_pb2.DESIRED_STATE_RUNNING)
    controller.wait_state("d", "RUNNING")
    controller.change("d", restart_generation=1)
    controller.wait(lambda: controller.statuses["d"].incarnation > first.incarnation, "it starts anew")
    controller.change("d", desired_state=loop_pb2.DESIRED_STATE_STOPPED)
    controller.wait_state("d", "STOPPED")
    controller.assign(counting("d", "thread", queue))
    controller.wait(lambda: controller.statuses["d"].epoch > first.epoch, "the new epoch")
    controller.wait_state("d", "RUNNING")
    pushed_more(controller, queue)
    controller.release("d")
    controller.wait_state("d", "STOPPED")

    numbers = [item[0]["n"] for item in controller.peek(queue, 10_000)]
    assert numbers == list(range(len(numbers)))
