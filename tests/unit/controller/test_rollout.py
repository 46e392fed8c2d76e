"""When a revision counts as healthy, and when it goes back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.controller.builders import compiled, loop, plan
from treadle.workflow.node_type import NodeType
from treadle_controller.cluster import rollout
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State, Why
from treadle_controller.cluster.rollout import CALM_S, Rollout, RolloutState, Scene

A, B = ReplicaId("w", "a", 0), ReplicaId("w", "b", 0)
HELD = Assignment(A, agent="one", held=True, epoch=5, sequence=3, digest="d1")
RUNS = Observed(5, 3, State.RUNNING, incarnation=1, committed=7, measured=True)


def scene(*loops: LoopRecord, held: Assignment = HELD, seen: Observed | None = RUNS, waits: Why | None = None) -> Scene:
    observed = {A: seen} if seen is not None else {}
    named = {one.name: one for one in loops or (loop("a"),)}
    return Scene(named, {A: held}, observed, {A: waits} if waits is not None else {})


def look(watched: Rollout, what: Scene, now: float) -> RolloutState:
    return rollout.look(watched, what, now=now, deadline_s=60.0).state


def test_a_loop_that_commits_is_healthy_at_once() -> None:
    watched = Rollout(1, 0.0)

    assert look(watched, scene(), 1.0) is RolloutState.PROGRESSING
    assert look(watched, scene(seen=replace(RUNS, committed=8)), 1.1) is RolloutState.HEALTHY


def test_what_the_run_before_had_committed_says_nothing_about_this_one() -> None:
    watched = Rollout(1, 0.0)

    assert look(watched, scene(seen=replace(RUNS, committed=5, measured=False)), 1.0) is RolloutState.PROGRESSING
    assert look(watched, scene(), 1.1) is RolloutState.PROGRESSING
    assert look(watched, scene(seen=replace(RUNS, committed=8)), 1.2) is RolloutState.HEALTHY


def test_a_loop_without_work_is_healthy_once_it_has_run_for_a_while() -> None:
    watched = Rollout(1, 0.0)

    assert look(watched, scene(), 1.0) is RolloutState.PROGRESSING
    assert look(watched, scene(), 1.0 + CALM_S) is RolloutState.HEALTHY


def test_a_loop_that_starts_again_and_again_is_not_healthy_and_overdue_at_the_deadline() -> None:
    watched = Rollout(1, 0.0)
    failed = Observed(5, 3, State.BACKOFF, Why("failed", "it raises"))
    for second in range(59):
        assert look(watched, scene(seen=replace(RUNS, incarnation=second)), float(second)) is RolloutState.PROGRESSING
        assert look(watched, scene(seen=failed), second + 0.5) is RolloutState.PROGRESSING

    verdict = rollout.look(watched, scene(seen=failed), now=60.0, deadline_s=60.0)

    assert verdict.state is RolloutState.UNHEALTHY
    assert verdict.why == ("not-healthy", "a was not healthy within 60 s: it raises")


def test_a_node_that_fails_keeps_a_loop_from_being_healthy_though_it_commits() -> None:
    watched = Rollout(1, 0.0)
    for number in range(10):
        seen = replace(RUNS, committed=number, failing="node 'n' fails: no")
        assert look(watched, scene(seen=seen), float(number)) is RolloutState.PROGRESSING


def test_of_very_many_loops_some_are_looked_at_each_time() -> None:
    watched = Rollout(1, 0.0)
    many = Scene({name: loop(name, desired=Desired.STOPPED) for name in "abcdefg"}, {}, {}, {})

    states = [rollout.look(watched, many, now=0.1, deadline_s=60.0, most=3).state for _ in range(3)]

    assert states == [RolloutState.PROGRESSING, RolloutState.PROGRESSING, RolloutState.HEALTHY]


def test_a_loop_that_failed_for_good_ends_the_rollout_at_once() -> None:
    seen = Observed(5, 3, State.ERROR, Why("failed", "it raises"))

    verdict = rollout.look(Rollout(1, 0.0), scene(seen=seen), now=0.1, deadline_s=60.0)

    assert verdict.why == ("loop-failed", "a failed for good: it raises")


def test_each_loop_that_becomes_healthy_is_progress() -> None:
    watched = Rollout(1, 0.0)
    both = scene(loop("a"), loop("b"))
    look(watched, both, 50.0)

    look(watched, both, 55.0)

    assert (watched.steady, watched.total) == (1, 2)
    assert look(watched, both, 114.0) is RolloutState.PROGRESSING
    assert look(watched, both, 115.0) is RolloutState.UNHEALTHY


@pytest.mark.parametrize(
    ("record", "held", "seen"),
    [
        (loop("a", desired=Desired.STOPPED), replace(HELD, held=False), None),
        (loop("a", desired=Desired.PAUSED), HELD, replace(RUNS, state=State.PAUSED)),
        (loop("a"), replace(HELD, held=False, completed=True), None),
    ],
)
def test_a_loop_that_rests_as_somebody_wants_it_is_healthy(
    record: LoopRecord, held: Assignment, seen: Observed | None
) -> None:
    assert look(Rollout(1, 0.0), scene(record, held=held, seen=seen), 0.1) is RolloutState.HEALTHY


@pytest.mark.parametrize(
    ("held", "seen"),
    [
        (replace(HELD, digest="old"), RUNS),
        (HELD, replace(RUNS, epoch=4)),
        (HELD, None),
        (replace(HELD, held=False), RUNS),
    ],
)
def test_what_is_known_of_an_older_revision_makes_nothing_healthy(held: Assignment, seen: Observed | None) -> None:
    watched = Rollout(1, 0.0)
    for second in range(10):
        assert look(watched, scene(held=held, seen=seen), float(second)) is RolloutState.PROGRESSING


def test_a_loop_that_found_no_place_is_said_to_have_none() -> None:
    nowhere = scene(held=replace(HELD, held=False), seen=None, waits=Why("no-free-slot", "all are full"))

    verdict = rollout.look(Rollout(1, 0.0), nowhere, now=60.0, deadline_s=60.0)

    assert verdict.why == ("not-placeable", "a could not be placed: all are full")


def test_only_loops_that_came_after_the_last_healthy_revision_are_looked_at() -> None:
    loops = [loop("a", revision=1), loop("b", revision=3), loop("c", revision=3, removed=True)]

    assert [one.name for one in rollout.touched(loops, 2)] == ["b"]


def test_a_rollout_stops_at_the_first_loop_that_it_breaks_and_not_at_one_that_was_broken_before() -> None:
    loops = [loop("a", revision=3), loop("b", revision=1)]
    held = {A: HELD, B: replace(HELD, id=B)}
    broken = Observed(5, 3, State.BACKOFF)

    assert rollout.changing(loops, held, {A: broken, B: broken}, healthy=2) == {"a"}


def test_a_raised_state_version_can_t_go_back() -> None:
    types = {
        "x.old": NodeType("x.old", "producer", stateful=True),
        "x.new": NodeType("x.new", "producer", stateful=True, state_version=2),
        "x.bare": NodeType("x.bare", "producer", state_version=3),
    }
    old, new = compiled(plan("a", uses="x.old")), compiled(plan("a", uses="x.new"))

    assert rollout.cannot_go_back(new, old, types) == (
        "node 'in' raises its state_version from 1 to 2, which can't go back by itself",
    )
    assert rollout.cannot_go_back(old, new, types) == ()
    assert rollout.cannot_go_back(compiled(plan("a", uses="x.bare")), old, types) == ()
