"""A node that stops its whole workflow."""

from __future__ import annotations

import pytest

from tests.unit.controller.builders import agent, plan
from tests.unit.controller.simulation import Cluster
from treadle_controller.cluster import halt
from treadle_controller.cluster.model import Desired, Observed, ReplicaId, State, Why
from treadle_controller.cluster.rollout import RolloutState

A = ReplicaId("w", "a", 0)
STOPS = Why(halt.CODE, "node 'n1': ValueError: no")


def fail(cluster: Cluster, id_: ReplicaId, why: Why = STOPS) -> None:
    """Have an agent report that a replica failed for good."""
    held = cluster.workflow.assignments[id_]
    cluster.running.pop(id_, None)
    cluster.workflow.observed[id_] = Observed(held.epoch, held.sequence, State.ERROR, why)


def running(*more: str) -> Cluster:
    cluster = Cluster(agent("one"), agent("two"))
    cluster.apply(plan("a", replicas=2, tails=("a~t",)), plan("a~t", replicas=2), *(plan(name) for name in more))
    cluster.calm_down()
    return cluster


@pytest.mark.parametrize("culprit", [A, ReplicaId("w", "a~t", 1), ReplicaId("w", "b", 0)], ids=str)
def test_all_loops_and_replicas_stop_and_say_which_node_did_it(culprit: ReplicaId) -> None:
    cluster = running("b")

    fail(cluster, culprit)
    cluster.calm_down()

    assert cluster.held() == {}
    image, workflow = cluster.image, cluster.workflow
    for loop in workflow.loops.values():
        standing = image.loop_standing(workflow, loop)
        assert standing.state is State.STOPPED
        sentence = f"{culprit.loop} failed and stops its whole workflow: {STOPS.message}"
        assert standing.why == Why(halt.CODE, sentence)
    told = [event for event in cluster.journal.take_unsaved() if event.code == "workflow-stopped"]
    assert len(told) == 1
    assert "n1" in told[0].message


def test_the_verdict_is_written_with_the_loops_in_one_round() -> None:
    cluster = running()
    fail(cluster, A)

    changes = cluster.settle()

    assert [record.why_code for record in changes.judged] == [halt.CODE]
    assert {loop.desired for loop in changes.loops.values()} == {Desired.STOPPED}


def test_a_revision_that_is_not_healthy_yet_is_unhealthy_then() -> None:
    cluster = running()
    record = cluster.workflow.record
    assert halt.cause(cluster.workflow.loops, cluster.workflow.assignments, cluster.workflow.observed) is None
    cluster.workflow.record = type(record)("w", 1, "d", 0, 0, state=int(RolloutState.PROGRESSING))
    fail(cluster, A)

    cluster.settle()

    assert cluster.workflow.record.state == RolloutState.UNHEALTHY


def test_another_failure_stops_nothing_else() -> None:
    cluster = running("b")

    fail(cluster, A, Why("exception", "ValueError: no"))
    cluster.settle()

    assert all(not held.releasing for held in cluster.held().values())


def test_what_was_answered_by_a_restart_stops_nothing_again() -> None:
    cluster = running("b")
    fail(cluster, A)
    cluster.restart("a")

    cluster.settle()

    assert cluster.workflow.record.why_code == ""
    assert all(not held.releasing for held in cluster.held().values())


def test_a_start_after_it_runs_everything_again() -> None:
    cluster = running("b")
    fail(cluster, A)
    cluster.calm_down()

    cluster.desire(Desired.RUNNING)
    cluster.calm_down()

    assert cluster.state() is State.RUNNING
    assert len(cluster.held()) == 5
