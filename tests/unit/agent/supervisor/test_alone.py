"""Loops in a process of their own, and their way back to their pool."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.agent.supervisor.test_reconcile import RUN, WANTED, record
from treadle_agent.frames import Ended, Incident, Suspect, Why
from treadle_agent.supervisor.blame import Alone
from treadle_agent.supervisor.reconcile import KEPT_INCIDENTS, DrainRun, Start, assign, decide, end, remember
from treadle_agent.supervisor.record import State
from treadle_agent.supervisor.restart import OUTSIDE_BURST

DIED = Ended(1, "host-died", Why("host-died", "as it happens"))


def test_a_loop_that_is_past_what_was_suspected_goes_back_to_its_pool() -> None:
    one = record(run=replace(RUN, alone=True))
    one.alone = Alone(Suspect("q", 4))
    assert decide(one, now=0.0) is None

    one.alone = None
    assert decide(one, now=0.0) == DrainRun()
    one.run = replace(RUN, alone=True, began=None)
    assert decide(one, now=0.0) is None


def test_deaths_on_a_suspected_message_wait_for_nothing_and_are_not_counted() -> None:
    one = record(run=RUN)
    for _ in range(20):
        end(one, DIED, now=1.0, jitter=0.0)
        assert decide(one, now=1.0) == Start(paused=False)
        one.run = RUN
    assert one.failures == ()
    assert one.restarts == 20


def test_a_loop_whose_process_dies_all_the_time_is_started_no_more_than_once_a_second() -> None:
    one = record(run=RUN)
    for _ in range(OUTSIDE_BURST + 1):
        one.run = RUN
        end(one, DIED, now=1.0, jitter=0.0)

    assert decide(one, now=1.5) is None
    assert decide(one, now=2.0) == Start(paused=False)


def test_somebody_who_asks_for_a_restart_forgives_but_the_suspect_stays_one() -> None:
    one = record(run=RUN)
    one.alone, one.known = Alone(Suspect("q", 4), stays=True), True

    assign(one, replace(WANTED, generation=1))
    assert one.alone == Alone(Suspect("q", 4))
    assert one.known
    assign(one, replace(WANTED, epoch=4))
    assert not one.known


def test_a_node_that_wants_the_workflow_stopped_ends_its_loop_for_good() -> None:
    one = record(run=RUN)

    assert end(one, Ended(1, "failed", Why("exception", "no"), on_exhausted="stop-workflow"), now=1.0, jitter=0.0)

    assert one.settled is not None
    assert one.settled.state is State.ERROR
    assert one.why is not None
    assert one.why.code == "stop-workflow"


def test_only_the_last_incidents_are_kept() -> None:
    one = record()
    remember(one, *(Incident(float(n), Why("exception", str(n))) for n in range(20)))

    assert [each.time for each in one.incidents] == [float(n) for n in range(20 - KEPT_INCIDENTS, 20)]
