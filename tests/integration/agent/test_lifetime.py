from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.integration.agent.plans import counting, moving
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.test_pools import NODES, POOLS, pushed_more, queue_name

Start = Callable[..., AgentProcess]


def test_a_forkserver_that_rests_loads_what_is_large_once_for_all_its_children(
    controller: ScriptedController, start_agent: Start
) -> None:
    agent = start_agent()
    (forkserver,) = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    maps = Path(f"/proc/{forkserver}/maps")
    controller.wait(lambda: "/cel." in maps.read_text(), "the language of expressions is there")
    assert len(list(Path(f"/proc/{forkserver}/task").iterdir())) == 1  # whoever forks has no other threads

    controller.assign(counting("late", "process", queue_name("late")))
    pid = controller.wait_state("late", "RUNNING").process_id

    assert "/cel." in Path(f"/proc/{pid}/maps").read_text()


def test_killing_the_supervisor_leaves_no_process(controller: ScriptedController, start_agent: Start) -> None:
    agent = start_agent()
    controller.assign(*(counting(pool, pool, queue_name("orphan")) for pool in POOLS))
    for pool in POOLS:
        controller.wait_state(pool, "RUNNING")
    assert len(agent.processes()) == 5  # supervisor, forkserver, two hosts, a loop process

    agent.process.kill()
    agent.process.wait()

    assert agent.gone()


def test_what_user_code_left_behind_is_killed_with_its_child(
    controller: ScriptedController, start_agent: Start
) -> None:
    agent = start_agent("--nodes", NODES)
    controller.assign(counting("l", "process", queue_name("litter"), uses="test.littering"))
    status = controller.wait_state("l", "RUNNING")
    controller.wait(lambda: len(agent.processes()) == 7, "a program, a fork and the usual five are there")
    litter = agent.processes()

    controller.release("l")
    controller.wait_state("l", "STOPPED")

    controller.wait(lambda: len(agent.processes()) == 4, "only supervisor, forkserver and two hosts are left")
    assert agent.processes() < litter
    assert status.process_id not in agent.processes()


def test_sigterm_without_a_controller_drains_alone(controller: ScriptedController, start_agent: Start) -> None:
    agent = start_agent()
    one, two = queue_name("alone"), queue_name("alone")
    controller.assign(counting("a", "thread", one), moving("b", "process", one, two))
    controller.wait_state("b", "RUNNING")
    pushed_more(controller, two)
    controller.down()

    assert agent.terminate() == 0
    assert agent.gone()
    # All that was read was passed on, all that was pushed is there once.
    numbers = [item[0]["n"] for item in [*controller.peek(two, 100_000), *controller.peek(one, 100_000)]]
    assert numbers == list(range(len(numbers)))


def test_a_second_sigterm_does_not_wait(controller: ScriptedController, start_agent: Start, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    agent = start_agent("--nodes", NODES)
    controller.release_on_farewell = False
    plan = counting("h", "process", queue_name("hang"), uses="test.awkward", flag=str(flag), how="hang")
    controller.assign(plan)
    controller.wait_state("h", "RUNNING")

    agent.process.send_signal(signal.SIGTERM)
    controller.wait(lambda: controller.farewells, "the farewell")
    assert agent.terminate(timeout_s=5) == 0
    assert agent.gone()


def test_a_loop_that_does_not_stop_is_killed_at_the_deadline(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    agent = start_agent("--nodes", NODES, TREADLE_AGENT_STOP_DEADLINE_S="0.5", TREADLE_AGENT_FAREWELL_S="0.2")
    plan = counting("h", "thread", queue_name("hang"), uses="test.awkward", flag=str(flag), how="hang")
    controller.assign(plan)
    controller.wait_state("h", "RUNNING")

    assert agent.terminate() == 0
    assert "did not stop in time" in agent.text()
    assert agent.gone()


def test_a_node_module_that_cannot_be_imported_is_reported_and_hides_no_other(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os\nos._exit(9)\n")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    start_agent("--nodes", NODES, "--nodes", str(deadly), "--nodes", str(broken))

    hello = controller.hellos[-1]
    offered = {each.uses for each in hello.node_types}
    assert {"generate", "test.awkward"} <= offered
    assert {error.code for error in hello.catalog_errors} == {"import-died", "import-failed"}


def test_what_nodes_log_and_print_reaches_the_log_and_whoever_watches(
    controller: ScriptedController, start_agent: Start
) -> None:
    agent = start_agent("--nodes", NODES)
    controller.assign(counting("l", "process", queue_name("lines"), uses="test.littering"))
    controller.wait_state("l", "RUNNING")
    controller.wait(lambda: "logged by a node" in agent.text(), "the line in the agent's log")
    controller.wait(lambda: "printed by a node" in agent.text(), "the printed line in the agent's log")

    controller.subscribe("l")
    controller.change("l", restart_generation=1)

    controller.wait(lambda: {"logged by a node", "printed by a node"} <= set(controller.lines), "lines on the stream")


def test_hosts_are_replaced_when_the_forkserver_is_killed(controller: ScriptedController, start_agent: Start) -> None:
    agent = start_agent()
    queue = queue_name("forkserver")
    controller.assign(*(counting(pool, pool, queue + pool) for pool in POOLS))
    for pool in POOLS:
        controller.wait_state(pool, "RUNNING")
    (forkserver,) = [pid for pid in agent.processes() if parent_of(pid) == agent.pid]

    os.kill(forkserver, signal.SIGKILL)

    for pool in POOLS:
        controller.wait(lambda: controller.statuses[pool].incarnation > 1, f"{pool} again")  # noqa: B023
        pushed_more(controller, queue + pool)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
