"""What `wfctl top` shows, and what keys make of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import pytest

from treadle.v1 import loop_pb2, loop_service_pb2, queue_pb2, queue_service_pb2
from wfctl.commands import top
from wfctl.settings import Settings
from wfctl.watching import SORTS, Lens, Look, chosen, loops_table, name_of, nodes_table

RUNNING = loop_pb2.LOOP_STATE_RUNNING


def loop(name: str, *, rate: float = 0.0, errors: int = 0, blocked: float = 0.0, **more: Any) -> loop_pb2.Loop:
    made = loop_pb2.Loop(
        workflow="w", name=name, state=more.pop("state", RUNNING), iterations_per_second=rate, errors=errors, **more
    )
    made.instances.add(agent="host-1").status.blocked_s = blocked
    return made


SLOW = loop("slow", rate=1.0, reads=["q"])
FAST = loop("fast", rate=100.0, errors=3)
DOWN = loop("down", state=loop_pb2.LOOP_STATE_BACKOFF)
LOOK = Look(10.0, (SLOW, FAST, DOWN), (queue_pb2.Queue(name="q", depth=7, oldest_age_s=4.0),))


def names(lens: Lens) -> list[str]:
    return [one.name for one in chosen(LOOK, lens)]


def test_loops_are_ordered_as_asked() -> None:
    assert names(Lens()) == ["fast", "slow", "down"]
    assert names(Lens("lag"))[0] == "slow"
    assert names(Lens("errors"))[0] == "fast"
    assert names(Lens("name")) == ["down", "fast", "slow"]
    assert names(Lens("name", backwards=True)) == ["slow", "fast", "down"]


def test_loops_are_narrowed_to_trouble_or_a_state() -> None:
    assert names(Lens(troubled=True)) == ["fast", "down"]
    assert names(Lens(state="backoff")) == ["down"]


def test_rates_of_errors_and_shares_of_blocked_time_come_from_two_looks() -> None:
    before = Look(8.0, (loop("fast", errors=1), loop("slow", blocked=1.0)))
    after = Look(10.0, (loop("fast", errors=3), loop("slow", blocked=2.0)))
    table = loops_table(after, before, Lens("name"))
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    assert (cells[0]["ERRORS/S"], cells[1]["BLOCKED"]) == ("1", "50%")


def test_what_a_loop_is_behind_by_is_what_waits_in_its_queues() -> None:
    table = loops_table(LOOK, None, Lens("lag"))
    cells = dict(zip(table.columns, table.rows[0], strict=True))

    assert (cells["LOOP"], cells["LAG"], cells["OLDEST"]) == ("w/slow", "7", "4s")


def test_a_loop_opened_shows_the_share_of_each_node() -> None:
    made = loop("slow")
    made.instances[0].status.nodes.add(node="quick", executions=1, duration_log2_ns=[0] * 10 + [1])
    made.instances[0].status.nodes.add(node="long", executions=3, duration_log2_ns=[0] * 10 + [3])
    table = nodes_table(made)

    assert [row[table.columns.index("SHARE")] for row in table.rows] == ["25%", "75%"]


def test_keys_move_open_close_sort_turn_narrow_and_end() -> None:
    shown = [name_of(one) for one in chosen(LOOK, Lens())]
    lens = Lens().press("j", shown).press("\x1b[B", shown).press("j", shown)
    assert lens.mark == 2
    assert lens.press("k", shown).mark == 1
    assert lens.press("\r", shown).opened == "w/down"
    assert lens.press("\r", shown).press("\x1b", shown).opened == ""
    assert lens.press("s", shown).sort == "lag"
    assert lens.press("r", shown).backwards
    assert lens.press("e", shown).troubled
    assert lens.press("q", shown).over
    assert lens.press("?", shown) == lens
    assert Lens().press("\r", []).opened == ""


def test_the_orders_that_help_names_are_those_that_there_are() -> None:
    assert top.SORTS == SORTS


def answer(controller: Any) -> None:
    controller.answers["ListLoops"] = loop_service_pb2.ListLoopsResponse(loops=LOOK.loops)
    controller.answers["ListQueues"] = queue_service_pb2.ListQueuesResponse(queues=LOOK.queues)


def test_without_a_terminal_everything_is_printed_once(wfctl: Any, controller: Any) -> None:
    answer(controller)
    ran = wfctl("top", "--address", controller.address, "--sort", "name")

    assert ran.code == 0
    assert ran.out.index("w/down") < ran.out.index("w/fast") < ran.out.index("w/slow")
    assert "LAG" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("height", [5, 50])
def test_a_screen_marks_a_row_and_fits(height: int) -> None:
    drawn = top._drawn(Settings(), LOOK, None, Lens(mark=9), height)
    assert drawn is not None


def test_on_a_terminal_it_is_live_until_q(controller: Any) -> None:
    answer(controller)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    command = [sys.executable, "-m", "wfctl", "top", "--every", "100ms", "--address", controller.address]
    own_size = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
    live = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**own_size, "TERM": "xterm"})
    os.close(theirs)
    try:
        said = read_until(ours, b"w/fast")
        os.write(ours, b"jj\r")
        said += read_until(ours, b"w/down  BACKOFF")
        os.write(ours, b"q")
        said += read_until(ours, None)
        assert live.wait(30) == 0, said
    finally:
        live.kill()
        live.wait()
        os.close(ours)


def read_until(fd: int, mark: bytes | None) -> bytes:
    """Read what is shown until a mark is, or until the end."""
    said, deadline = b"", time.monotonic() + 60.0
    while mark is None or mark not in said:
        ready, _, _ = select.select([fd], [], [], 30.0)
        assert ready, said
        assert time.monotonic() < deadline, said
        try:
            said += os.read(fd, 65536)
        except OSError:  # the other end is closed
            assert mark is None, said
            break
    return said
