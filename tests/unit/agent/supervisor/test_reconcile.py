from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import Plan, RestartPolicy, Step
from treadle_agent.frames import Address, Ended, Why
from treadle_agent.supervisor.reconcile import (
    Action,
    DrainRun,
    Forget,
    PauseRun,
    ResumeRun,
    Start,
    assign,
    begin,
    decide,
    end,
    release,
    state_of,
)
from treadle_agent.supervisor.record import Desired, Record, Run, State, Wanted

ADDRESS = Address("ns", LoopKey("w", "l"))
PLAN = Plan("w", "l", (Step("p", "producer", uses="generate"),), digest="d")
WANTED = Wanted(ADDRESS, 3, sequence=1, revision=1, desired=Desired.RUNNING, generation=0, plan=PLAN, plan_json=b"")
HOLD = Why("redis-unreachable", "away")
RUN = Run(1, epoch=3, generation=0, began=1.0)


def record(wanted: Wanted | None = WANTED, run: Run | None = None) -> Record:
    made = Record(ADDRESS)
    if wanted is not None:
        assign(made, wanted)
    if run is not None:
        begin(made, replace(run))
    return made


@pytest.mark.parametrize(
    ("wanted", "run", "expected"),
    [
        (WANTED, None, Start(paused=False)),
        (replace(WANTED, desired=Desired.PAUSED), None, Start(paused=True)),
        (replace(WANTED, desired=Desired.STOPPED), None, None),
        (WANTED, RUN, None),
        (replace(WANTED, desired=Desired.STOPPED), RUN, DrainRun()),
        (replace(WANTED, desired=Desired.PAUSED), RUN, PauseRun()),
        (replace(WANTED, desired=Desired.PAUSED), replace(RUN, paused=True), None),
        (WANTED, replace(RUN, paused=True), ResumeRun()),
        (replace(WANTED, epoch=4), RUN, DrainRun()),
        (replace(WANTED, generation=1), RUN, DrainRun()),
        (replace(WANTED, epoch=4), replace(RUN, draining=True), None),
        (None, RUN, DrainRun()),
        (None, replace(RUN, draining=True), None),
        (None, None, Forget()),
    ],
)
def test_one_step_is_decided_from_the_whole_picture(
    wanted: Wanted | None, run: Run | None, expected: Action | None
) -> None:
    assert decide(record(wanted, run), now=0.0) == expected


def test_nothing_starts_while_the_agent_holds_and_what_runs_goes_on() -> None:
    assert decide(record(), now=0.0, hold=HOLD) is None
    assert decide(record(WANTED, RUN), now=0.0, hold=HOLD) is None
    assert state_of(record(), hold=HOLD) == (State.BACKOFF, HOLD)
    assert state_of(record(WANTED, RUN), hold=HOLD) == (State.BACKOFF, HOLD)


def test_a_loop_that_asks_for_it_stops_when_the_controller_is_silent_and_comes_back_with_it() -> None:
    touchy = replace(WANTED, plan=replace(PLAN, on_lost_contact_s=30.0))

    assert decide(record(touchy, RUN), now=0.0, silent_s=29.0) is None
    assert decide(record(touchy, RUN), now=0.0, silent_s=31.0) == DrainRun()
    assert decide(record(touchy), now=0.0, silent_s=31.0) is None
    assert state_of(record(touchy), silent_s=31.0)[0] is State.STOPPED
    assert decide(record(touchy), now=0.0, silent_s=0.0) == Start(paused=False)
    assert decide(record(WANTED, RUN), now=0.0, silent_s=1e9) is None


def test_a_failure_waits_its_backoff_and_ends_in_error() -> None:
    loop = record(replace(WANTED, plan=replace(PLAN, restart=RestartPolicy(max_restarts=2))))
    why = Why("exception", "ValueError: no", "p", "traceback")
    for delay in (0.0, 1.0):
        begin(loop, replace(RUN))
        assert end(loop, Ended(1, "failed", why), now=10.0, jitter=0.0)
        assert loop.retry_at == 10.0 + delay
        assert state_of(loop) == (State.BACKOFF, why)
        assert decide(loop, now=loop.retry_at) == Start(paused=False)
    begin(loop, replace(RUN))
    end(loop, Ended(1, "failed", why), now=10.0, jitter=0.0)

    state, reason = state_of(loop)
    assert state is State.ERROR
    assert reason is not None
    assert reason.node == "p"
    assert "it failed 3 times" in reason.message
    assert decide(loop, now=1e9) is None
    assign(loop, replace(WANTED, generation=1, sequence=2))
    assert decide(loop, now=10.0) == Start(paused=False)


@pytest.mark.parametrize("kind", ["host-died", "unreachable", "drained", "stopped"])
def test_what_the_loop_did_not_do_is_not_charged(kind: str) -> None:
    loop = record()
    for _ in range(100):
        begin(loop, replace(RUN))
        end(loop, Ended(1, kind, HOLD), now=10.0, jitter=0.0)

    assert loop.failures == ()
    assert decide(loop, now=1e9) == Start(paused=False)


def test_a_host_that_died_is_made_good_at_once() -> None:
    loop = record(WANTED, RUN)
    end(loop, Ended(1, "host-died"), now=10.0, jitter=0.0)

    assert decide(loop, now=10.0) == Start(paused=False)
    assert loop.restarts == 1


@pytest.mark.parametrize(("kind", "state"), [("completed", State.COMPLETED), ("lost", State.LOST)])
def test_a_loop_that_is_through_stays_so_until_its_epoch_changes(kind: str, state: State) -> None:
    loop = record(WANTED, RUN)
    end(loop, Ended(1, kind), now=10.0, jitter=0.0)

    assert state_of(loop)[0] is state
    assert decide(loop, now=1e9) is None
    assign(loop, replace(WANTED, sequence=2))
    assert decide(loop, now=1e9) is None
    assign(loop, replace(WANTED, epoch=4, sequence=3))
    assert decide(loop, now=1e9) == Start(paused=False)


def test_a_loop_that_fails_while_it_drains_is_not_started_again() -> None:
    loop = record(WANTED, replace(RUN, draining=True))
    release(loop)
    end(loop, Ended(1, "failed", Why("exception", "no")), now=10.0, jitter=0.0)

    assert decide(loop, now=10.0) == Forget()
    assert state_of(loop)[0] is State.STOPPED


OUTCOMES = ["drained", "stopped", "completed", "failed", "lost", "unreachable", "host-died"]
WANTS = st.builds(
    lambda epoch, generation, desired: replace(WANTED, epoch=epoch, generation=generation, desired=desired),
    st.integers(1, 3),
    st.integers(0, 1),
    st.sampled_from(list(Desired)),
)


@given(st.lists(st.one_of(WANTS, st.none(), st.sampled_from(OUTCOMES), st.floats(0, 100))))
def test_whatever_happens_a_loop_has_one_run_at_most_and_comes_to_what_is_wanted(
    story: list[Wanted | str | float | None],
) -> None:
    loop = Record(ADDRESS)
    now = 0.0
    for event in story:
        match event:
            case Wanted():
                assign(loop, event)
            case None:
                release(loop)
            case str():
                end(loop, Ended(1, event), now=now, jitter=0.5)
            case float():
                now += event
        take_steps(loop, now)
    settle(loop, now)
    assert matches(loop)


def take_steps(loop: Record, now: float) -> None:
    for _ in range(4):
        match decide(loop, now=now):
            case Start(paused):
                assert loop.run is None
                assert loop.wanted is not None
                begin(loop, Run(1, loop.wanted.epoch, loop.wanted.generation, began=now, paused=paused))
            case DrainRun() if loop.run is not None:
                loop.run.draining = True
            case PauseRun() if loop.run is not None:
                loop.run.paused = True
            case ResumeRun() if loop.run is not None:
                loop.run.paused = False
            case _:
                return
    raise AssertionError("it never comes to rest")


def settle(loop: Record, now: float) -> None:
    """Let drains end and backoffs pass."""
    for _ in range(3):
        if loop.run is not None and loop.run.draining:
            end(loop, Ended(1, "drained"), now=now, jitter=0.5)
        now += 1_000
        take_steps(loop, now)


def matches(loop: Record) -> bool:
    wanted, run = loop.wanted, loop.run
    if wanted is None or wanted.desired is Desired.STOPPED:
        return run is None
    if run is None:
        return loop.settled is not None
    paused = wanted.desired is Desired.PAUSED
    return (run.epoch, run.generation, run.paused) == (wanted.epoch, wanted.generation, paused)
