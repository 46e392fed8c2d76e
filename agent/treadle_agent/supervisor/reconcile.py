"""What to do about a loop, and what it is: pure functions of its record and the time.

Level-triggered: after anything happened to a loop, `decide` looks at its whole record and names one step. The
shell takes the step and comes back with the next event. A loop never has two runs: its successor, under a new
epoch or after a restart, is started when the run before it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from treadle_agent.frames import Ended, Incident, Why
from treadle_agent.supervisor.blame import Alone
from treadle_agent.supervisor.record import Desired, Record, Run, Settled, State, Wanted
from treadle_agent.supervisor.restart import GiveUp, after_failure, after_host_death, after_outage

KEPT_INCIDENTS: Final = 5


@dataclass(frozen=True, slots=True)
class Start:
    """Start the loop as it is wanted."""

    paused: bool


@dataclass(frozen=True, slots=True)
class DrainRun:
    """Have the run stop at an iteration boundary."""


@dataclass(frozen=True, slots=True)
class PauseRun:
    """Have the run begin no further iteration."""


@dataclass(frozen=True, slots=True)
class ResumeRun:
    """Have the run go on."""


@dataclass(frozen=True, slots=True)
class Forget:
    """It is released and nothing of it runs: report how it ended, for the last time."""


Action = Start | DrainRun | PauseRun | ResumeRun | Forget


def decide(record: Record, *, now: float, hold: Why | None = None, silent_s: float = 0.0) -> Action | None:
    """Return the next step for a loop, or None when there is nothing to do now.

    `hold` is why no loop may start on this agent at the moment; what runs goes on. `silent_s` is how long the
    controller has been silent, which stops loops that ask for it (`on_lost_contact`).
    """
    wanted, run = record.wanted, record.run
    if wanted is None:
        return _let_go(run)
    desired = Desired.STOPPED if lost_contact(wanted, silent_s) else wanted.desired
    if run is not None:
        return _steer(record, wanted, run, desired)
    if desired is Desired.STOPPED or hold is not None or _is_settled(record, wanted):
        return None
    if record.waits and now < record.retry_at:
        return None
    return Start(paused=desired is Desired.PAUSED)


def lost_contact(wanted: Wanted, silent_s: float) -> bool:
    """Whether the loop must not run because the controller has been silent for too long."""
    limit = wanted.plan.on_lost_contact_s
    return limit is not None and silent_s > limit


def _let_go(run: Run | None) -> Action | None:
    if run is None:
        return Forget()
    return None if run.draining else DrainRun()


def _steer(record: Record, wanted: Wanted, run: Run, desired: Desired) -> Action | None:
    if run.draining:
        return None
    replaced = (run.epoch, run.generation) != (wanted.epoch, wanted.generation)
    back = run.alone and record.alone is None and run.began is not None  # to its pool
    if replaced or back or desired is Desired.STOPPED:
        return DrainRun()
    if desired is Desired.PAUSED and not run.paused:
        return PauseRun()
    if desired is Desired.RUNNING and run.paused:
        return ResumeRun()
    return None


def _is_settled(record: Record, wanted: Wanted) -> bool:
    settled = record.settled
    return settled is not None and (settled.epoch, settled.generation) == (wanted.epoch, wanted.generation)


def state_of(record: Record, *, hold: Why | None = None, silent_s: float = 0.0) -> tuple[State, Why | None]:
    """Return what a loop is, and why."""
    run, wanted = record.run, record.wanted
    if run is not None:
        if run.draining:
            return State.DRAINING, None
        if hold is not None and hold.code == "redis-unreachable":
            return State.BACKOFF, hold  # the run waits, and goes on by itself
        if run.began is None and hold is not None and hold.code == "wrong-redis":
            return State.BACKOFF, hold  # it can't begin there
        if run.began is None:
            return State.STARTING, record.why
        return (State.PAUSED, None) if run.paused else (State.RUNNING, record.hang)
    if record.settled is not None and (wanted is None or _is_settled(record, wanted)):
        return record.settled.state, record.why
    if wanted is None or wanted.desired is Desired.STOPPED:
        return State.STOPPED, None
    if lost_contact(wanted, silent_s):
        return State.STOPPED, Why("lost-contact", f"the controller has been silent for {silent_s:.0f} s")
    if hold is not None:
        return State.BACKOFF, hold
    return (State.BACKOFF, record.why) if record.waits else (State.ASSIGNED, None)


def assign(record: Record, wanted: Wanted) -> None:
    """Take in an assignment: a first one, a changed one, or the same one again."""
    before = record.wanted
    record.wanted = wanted
    record.released = False
    record.last_epoch, record.last_sequence = wanted.epoch, wanted.sequence
    anew = before is not None and (before.epoch, before.generation) != (wanted.epoch, wanted.generation)
    if anew:
        # Somebody asked for it, or another plan: what went wrong before says nothing about this one.
        record.failures, record.outages, record.waits, record.why = (), 0, False, None
        record.alone_at = ()
        if record.alone is not None:
            record.alone = Alone(record.alone.suspect) if record.alone.suspect is not None else None
    if before is not None and before.epoch != wanted.epoch:
        record.known = False  # somebody else may have had it meanwhile
    if record.settled is not None and not _is_settled(record, wanted):
        record.settled = None


def release(record: Record) -> None:
    """Take in that the loop is no longer ours."""
    record.wanted = None
    record.released = True


def begin(record: Record, run: Run) -> None:
    """Take in that a run was handed to a child."""
    record.run = run
    record.settled = None  # how an older epoch ended says nothing about this one
    record.waits = False
    record.figures = None
    record.marks = []


def end(record: Record, ended: Ended, *, now: float, jitter: float) -> bool:
    """Take in that the run is over; return whether this was a failure that people should hear of.

    Outcomes: drained, stopped, completed, failed, lost, unreachable, and of the supervisor's own: host-died (a
    neighbour or somebody outside did it: started again at once, and not counted).
    """
    run, record.run = record.run, None
    if run is None:
        return False
    if record.figures is not None:
        record.past.add(record.figures)
        record.committed -= record.figures.untouched  # they are among what is past now
        remember(record, *record.figures.incidents)
    record.figures = None
    record.process_id = 0
    record.hang = None
    record.known = True
    match ended.kind:
        case "completed":
            _settle(record, run, State.COMPLETED, None)
        case "lost":
            _settle(record, run, State.LOST, ended.why)
        case "unreachable":
            _wait(record, now + after_outage(record.outages, jitter=jitter), ended.why)
            record.outages += 1
        case "host-died":
            record.restarts += 1
            record.why = ended.why
            delay, record.kills = after_host_death(record.kills, now=now, outside=True)
            if delay:
                _wait(record, now + delay, ended.why)
        case "failed":
            return _fail(record, run, ended, now=now, jitter=jitter)
        case _:
            # Drained or stopped, as we asked; without our asking the loop is simply started again.
            record.why = None
    return False


def remember(record: Record, *incidents: Incident) -> None:
    """Keep the last incidents of a loop."""
    record.incidents = [*record.incidents, *incidents][-KEPT_INCIDENTS:]


def _fail(record: Record, run: Run, ended: Ended, *, now: float, jitter: float) -> bool:
    wanted = record.wanted
    if run.draining or wanted is None:
        record.why = ended.why  # it was leaving anyway
        return True
    if ended.on_exhausted == "stop-workflow":
        cause = ended.why or Why("failed", "it failed")
        message = f"node '{cause.node}': {cause.message}" if cause.node else cause.message
        _settle(record, run, State.ERROR, Why("stop-workflow", message, cause.node, cause.traceback, cause.type))
        return True
    policy = wanted.plan.restart
    if policy.mode == "never" and ended.on_exhausted == "restart-loop":
        policy = replace(policy, mode="on-failure")  # the node says it, who knows better
    verdict, record.failures = after_failure(policy, record.failures, now=now, jitter=jitter)
    if isinstance(verdict, GiveUp):
        _settle(record, run, State.ERROR, _given_up(ended.why, verdict))
        return True
    record.restarts += 1
    _wait(record, now + verdict, ended.why)
    return True


def _given_up(why: Why | None, verdict: GiveUp) -> Why:
    cause = why or Why("failed", "it failed")
    message = f"{cause.message} (not restarted: {verdict.because})"
    return Why(cause.code, message, cause.node, cause.traceback, cause.type)


def _settle(record: Record, run: Run, state: State, why: Why | None) -> None:
    record.settled = Settled(run.epoch, run.generation, state)
    record.why = why
    record.waits = False


def _wait(record: Record, until: float, why: Why | None) -> None:
    record.waits, record.retry_at, record.why = True, until, why
