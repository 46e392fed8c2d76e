"""A producer that ends its process has no message that could be a dead letter: it is told from its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.agent.plans import counting
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import AT, NODES
from treadle.workflow.plan import Input, Plan, Pool, RestartPolicy, Step

Start = Callable[..., AgentProcess]
FAILURES = 3


def producing(how: str, pool: Pool, cured: Path) -> Plan:
    """Return a loop that counts to its queue, and does it at one number, until it is cured."""
    params = {"how": how, "at": AT, "cured": str(cured)}
    steps = (
        Step("source", "producer", uses="test.misbehave-producer", params=params),
        Step("out", "queue", queue=f"bad-{cured.name}", inputs=(Input(0, None, "source"),)),
    )
    restart = RestartPolicy(initial_backoff_s=0.01, max_restarts=FAILURES - 1)
    return Plan("w", "bad", steps, digest="bad-1", pool=pool, restart=restart, interval_s=0.01)


def check_innocents(controller: ScriptedController, queues: dict[str, str]) -> None:
    """Nothing was lost or doubled, and nobody was charged with it."""
    for loop, queue in queues.items():
        numbers = [item[0]["n"] for item in controller.peek(queue, 1_000_000)]
        assert numbers == list(range(len(numbers)))
        assert (f"w/{loop}/0", "loop-failed") not in controller.events
        assert not {(loop, "ERROR"), (loop, "BACKOFF")} & set(controller.history)


@pytest.mark.parametrize("pool", ["thread", "asyncio"])
@pytest.mark.parametrize("how", ["segfaults", "kills its process group"])
def test_a_producer_that_ends_its_process_is_moved_away_from_its_neighbours_who_are_not_charged(
    controller: ScriptedController, start_agent: Start, tmp_path: Path, how: str, pool: Pool
) -> None:
    cured = tmp_path / f"{pool}-{how[:4]}"
    innocents = {loop: f"{loop}-{cured.name}" for loop in ("good", "fine")}
    agent = start_agent("--nodes", NODES[0])
    controller.assign(*(replace(counting(loop, pool, queue), interval_s=0.01) for loop, queue in innocents.items()))
    for loop in innocents:
        controller.wait_state(loop, "RUNNING")
    controller.assign(producing(how, pool, cured))
    controller.wait(lambda: "bad" in controller.statuses, "it was started")

    if how == "segfaults":  # it did it itself, each time: its restart policy counts
        controller.wait_state("bad", "ERROR")
        reason = controller.statuses["bad"].reason
        assert f"it failed {FAILURES} times" in reason.message
        assert "Segmentation fault" in reason.traceback
        cured.touch()
        controller.change("bad", restart_generation=1)
    else:  # nobody can tell such a signal from one that comes from outside, which counts for nothing
        controller.wait(lambda: controller.statuses["bad"].restarts > FAILURES, "it was started again and again")
        before = [controller.statuses[loop].incarnation for loop in innocents]
        controller.wait(lambda: controller.statuses["bad"].restarts > 2 * FAILURES, "and again, alone")
        assert [controller.statuses[loop].incarnation for loop in innocents] == before
        assert ("bad", "ERROR") not in controller.history
        cured.touch()

    controller.wait(lambda: len(controller.peek(f"bad-{cured.name}", 100)) > 2 * AT, "it goes on")
    numbers = [item[0]["n"] for item in controller.peek(f"bad-{cured.name}", 1_000_000)]
    assert numbers == list(range(len(numbers)))
    check_innocents(controller, innocents)
    assert agent.terminate() == 0
    assert agent.gone()
