"""Limits of open files and threads, kept in real processes; that of memory is a row of the table of failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import AT, MESSAGES, NODES, Kind, Row, misbehaving
from treadle.queues.codec import encode_item
from treadle.workflow.plan import Pool, Resources

Start = Callable[..., AgentProcess]


def play(controller: ScriptedController, row: Row, pool: Pool, folder: Path, limits: Resources) -> str:
    """Have one message go beyond a limit; returns why it is a dead letter, once all others are through."""
    name = f"{row.how.replace(' ', '-')}-{pool}"
    controller.assign(replace(misbehaving(row, pool, folder / "once", name=name), resources=limits))
    items = [encode_item({"n": n}) for n in range(MESSAGES)]
    controller.do(lambda admin: admin.push(f"{name}-in", items))
    controller.wait(lambda: len(controller.peek(f"{name}-out", 100)) == MESSAGES - 1, "all others are through")
    assert [item[0]["n"] for item in controller.peek(f"{name}-out", 100)] == [n for n in range(MESSAGES) if n != AT]
    (letter,) = controller.do(lambda admin: admin.dead_letters(f"{name}-in"))
    assert letter.number == AT + 1
    assert (name, "ERROR") not in controller.history
    return str(letter.reason)


def test_a_node_that_opens_more_files_than_it_may_gets_an_error_and_nobody_else_does(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    start_agent("--nodes", NODES[0], TREADLE_AGENT_HOSTS__OPEN_FILES="256")
    row = Row("opens files", Kind.EXHAUSTS)

    assert "Too many open files" in play(controller, row, "process", tmp_path, Resources(open_files=128))
    assert "Too many open files" in play(controller, row, "thread", tmp_path, Resources())


def test_a_process_with_more_threads_than_it_may_have_is_killed_and_says_why(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    start_agent("--nodes", NODES[0])
    row = Row("starts threads", Kind.POISON)

    assert "poison" in play(controller, row, "process", tmp_path, Resources(threads=50))
    assert ("w/starts-threads-process/0", "thread-limit") in controller.events
