"""What replicas and loops are, from what is wanted, assigned and seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.controller.builders import agent, loop
from treadle_controller.cluster.fleet import Liveness
from treadle_controller.cluster.model import Assignment, Desired, Observed, ReplicaId, State, Why
from treadle_controller.cluster.phase import Standing, replica_standing, worst

ID = ReplicaId("w", "a", 0)
HELD = Assignment(ID, agent="one", held=True, epoch=3, sequence=1, digest="d1")


def standing(assignment: Assignment | None = HELD, seen: Observed | None = None, **fields: Any) -> Standing:
    liveness = fields.pop("liveness", Liveness.READY)
    waits = fields.pop("waits", None)
    return replica_standing(loop("a", **fields), assignment, seen, agent("one", liveness=liveness), waits)


def test_what_nobody_holds_is_pending_with_its_reason_or_stopped() -> None:
    why = Why("no-free-slot", "full")

    assert standing(None, waits=why) == Standing(State.PENDING, why)
    assert standing(None, desired=Desired.STOPPED).state is State.STOPPED


def test_an_assignment_without_an_answer_is_assigned_and_an_answer_of_another_epoch_is_none() -> None:
    assert standing().state is State.ASSIGNED
    assert standing(seen=Observed(2, 1, State.RUNNING)).state is State.ASSIGNED
    assert standing(seen=Observed(3, 1, State.RUNNING)).state is State.RUNNING


def test_a_loop_of_a_lost_agent_is_lost_and_of_an_absent_one_as_it_was() -> None:
    seen = Observed(3, 1, State.RUNNING)

    assert standing(seen=seen, liveness=Liveness.LOST).state is State.LOST
    away = standing(seen=seen, liveness=Liveness.DISCONNECTED)
    assert away.state is State.RUNNING
    assert away.why is not None
    assert away.why.code == "agent-disconnected"


def test_completed_holds_until_a_restart_or_a_change() -> None:
    done = Assignment(ID, completed=True, digest="d1")

    assert standing(done).state is State.COMPLETED
    assert standing(done, restarts=1).state is State.PENDING
    assert standing(done, digest="d2").state is State.PENDING


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.RUNNING, State.COMPLETED], State.RUNNING),
        ([State.COMPLETED, State.COMPLETED], State.COMPLETED),
        ([State.RUNNING, State.BACKOFF, State.PENDING], State.BACKOFF),
        ([State.LOST, State.ERROR], State.ERROR),
        ([], State.STOPPED),
    ],
)
def test_many_are_what_the_worst_of_them_is(states: list[State], expected: State) -> None:
    assert worst(Standing(state) for state in states).state is expected


def test_what_has_completed_is_shown_as_that_once_it_is_stored() -> None:
    seen = standing(seen=Observed(3, 1, State.COMPLETED))

    assert seen.state is State.DRAINING
    assert seen.why is not None
    assert seen.why.code == "completing"
