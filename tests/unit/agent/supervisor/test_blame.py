"""Who did it, and what becomes of every loop of a process that died."""

from __future__ import annotations

import pytest

from treadle.workflow.plan import Input, Plan, Step
from treadle_agent.frames import Suspect, Why
from treadle_agent.page import RUNNING, Seen
from treadle_agent.supervisor.blame import STAY_AFTER, STAY_WINDOW_S, Alone, Death, Sentence, blamed, judge, stays_alone
from treadle_agent.supervisor.faults import Frame, Stack

WHY = Why("host-died", "its process ended")
PLAN = Plan(
    "w",
    "l",
    (
        Step("in", "queue-reader", queues=("a", "b")),
        Step("n", "blocking", uses="my.node", inputs=(Input(0, None, "in"),)),
    ),
    digest="d",
)
IDLE = Seen(7, RUNNING)
AT_WORK = Seen(7, RUNNING, inside=True)
ON_A_MESSAGE = Seen(7, RUNNING, inside=True, queue=1, number=12)
B12 = Suspect("b", 12)
STAYS = Alone(B12, stays=True)
MOVES_ON = Sentence(failed=False, why=WHY)


@pytest.mark.parametrize(
    ("death", "seen", "insiders", "expected"),
    [
        # A shared host.
        (Death(WHY, own=False), IDLE, 1, MOVES_ON),
        (Death(WHY, own=False), AT_WORK, 2, Sentence(failed=False, why=WHY, alone=Alone())),
        (Death(WHY, own=False), AT_WORK, 1, Sentence(failed=True, why=WHY, alone=Alone())),
        (Death(WHY, own=False), ON_A_MESSAGE, 3, Sentence(failed=False, why=WHY, alone=Alone(B12))),
        (Death(WHY, own=False), ON_A_MESSAGE, 1, Sentence(failed=False, why=WHY, alone=Alone(B12))),
        (Death(WHY, own=False, outside=True), AT_WORK, 1, Sentence(failed=False, why=WHY, alone=Alone())),
        # ... in which a crash left a stack.
        (Death(WHY, own=False, suspects=frozenset({7})), AT_WORK, 9, Sentence(failed=True, why=WHY, alone=Alone())),
        (Death(WHY, own=False, suspects=frozenset({8})), ON_A_MESSAGE, 2, MOVES_ON),
        (Death(WHY, own=False, suspects=frozenset({7, 8})), AT_WORK, 2, Sentence(failed=False, why=WHY, alone=Alone())),
        # ... that was killed because of one of its loops.
        (Death(WHY, own=False, culprit=7), AT_WORK, 2, Sentence(failed=True, why=WHY, alone=Alone(stays=True))),
        (
            Death(WHY, own=False, culprit=7),
            ON_A_MESSAGE,
            2,
            Sentence(failed=False, why=WHY, alone=Alone(B12, stays=True)),
        ),
        (Death(WHY, own=False, culprit=8), ON_A_MESSAGE, 2, MOVES_ON),
        (Death(WHY, own=False, innocent=True), ON_A_MESSAGE, 2, MOVES_ON),
        # A process of its own.
        (Death(WHY, own=True), IDLE, 0, Sentence(failed=True, why=WHY, alone=Alone())),
        (Death(WHY, own=True), ON_A_MESSAGE, 1, Sentence(failed=False, why=WHY, alone=Alone(B12))),
        (Death(WHY, own=True, outside=True), AT_WORK, 1, Sentence(failed=False, why=WHY, alone=Alone())),
        (Death(WHY, own=True, outside=True), ON_A_MESSAGE, 1, Sentence(failed=False, why=WHY, alone=Alone(B12))),
    ],
)
def test_each_loop_gets_what_it_deserves(death: Death, seen: Seen, insiders: int, expected: Sentence) -> None:
    assert judge(death, 7, seen, PLAN, insiders) == expected


def test_a_page_that_says_nonsense_names_no_message() -> None:
    odd = Seen(7, RUNNING, inside=True, queue=5, number=12)

    assert judge(Death(WHY, own=True), 7, odd, PLAN, 1).alone == Alone()


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("/site/my/nodes.py", "my.nodes", "n"),
        ("/site/my/nodes/__init__.py", "my.nodes", "n"),
        ("/home/me/nodes.py", "/home/me/nodes.py", "n"),
        ("/home/me/nodes/one.py", "/home/me/nodes", "n"),
        ("/site/not_my/nodes.py", "my.nodes", None),
        ("/site/my/nodes.py", "", None),
    ],
)
def test_a_stack_is_that_of_a_node_whose_module_is_on_it(file: str, source: str, expected: str | None) -> None:
    stack = Stack((Frame("/lib/re.py", 3, "match"), Frame(file, 12, "execute")))

    assert blamed(stack, PLAN, {"my.node": source}) == expected


def test_a_loop_that_was_isolated_often_stays_so_for_a_while() -> None:
    times = [float(n) for n in range(STAY_AFTER)]

    assert stays_alone(times, now=10.0)
    assert not stays_alone(times[1:], now=10.0)
    assert not stays_alone(times, now=STAY_WINDOW_S + 1.0)
