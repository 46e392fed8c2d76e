"""Who did it, and what that means for each loop of a process that ended uncleanly. Pure.

A loop that was inside an iteration restarts alone, in a process of its own: on a message, that message is suspected
and the death is counted in Redis, not here; without one the death counts for its restart policy, if it is certain
that it was this loop's. Loops that were idle, or whose neighbour is known to have done it, just move on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from treadle.workflow.plan import Plan
from treadle_agent.frames import Suspect, Why
from treadle_agent.page import Seen
from treadle_agent.supervisor.faults import Stack

STAY_AFTER: Final = 3  # times alone in the window: then it stays there
STAY_WINDOW_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended. `culprit` is the run that made us kill it, 0 for none; `outside`: somebody killed it."""

    why: Why
    own: bool  # a process of one loop
    outside: bool = False
    culprit: int = 0
    suspects: frozenset[int] = frozenset()  # runs whose code was on the stack of the thread that crashed
    innocent: bool = False  # nobody in it did anything: it was replaced


@dataclass(frozen=True, slots=True)
class Alone:
    """Why a loop is to run in a process of its own. `stays`: also when it is past what was suspected."""

    suspect: Suspect | None = None
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """What becomes of one loop: it failed, or it is started again at once and nothing is counted."""

    failed: bool
    why: Why
    alone: Alone | None = None


def suspect_of(seen: Seen, plan: Plan | None) -> Suspect | None:
    """Return the message that a loop was on."""
    queues = plan.steps[0].queues if plan is not None else ()
    if not seen.inside or not seen.number or not 0 <= seen.queue < len(queues):
        return None
    return Suspect(queues[seen.queue], seen.number)


def judge(death: Death, run: int, seen: Seen, plan: Plan | None, insiders: int) -> Sentence:
    """Say what becomes of a loop. `insiders` is how many loops of the process were inside an iteration."""
    if death.innocent:
        return Sentence(failed=False, why=death.why)
    suspect = suspect_of(seen, plan)
    guilty = _is_guilty(death, run, seen, insiders)
    if not guilty and not (death.own or _may_have_done_it(death, run, seen)):
        return Sentence(failed=False, why=death.why)
    alone = Alone(suspect, stays=death.culprit == run)
    return Sentence(failed=guilty and suspect is None, why=death.why, alone=alone)


def _is_guilty(death: Death, run: int, seen: Seen, insiders: int) -> bool:
    if death.culprit:
        return death.culprit == run
    if death.outside:
        return False
    if death.own:
        return True
    return death.suspects == {run} if death.suspects else seen.inside and insiders == 1


def _may_have_done_it(death: Death, run: int, seen: Seen) -> bool:
    if death.culprit:
        return False
    return run in death.suspects if death.suspects else seen.inside


def blamed(stack: Stack, plan: Plan, sources: Mapping[str, str]) -> str | None:
    """Return the node of a plan whose module is on a stack, None when none is. "" when several of them may be it."""
    files = [frame.file for frame in stack.frames]
    sourced = [(step.node, sources.get(step.uses or "", "")) for step in plan.steps]
    nodes = [node for node, source in sourced if any(_is_of(file, source) for file in files)]
    if not nodes:
        return None
    return nodes[0] if len(nodes) == 1 else ""


def _is_of(file: str, source: str) -> bool:
    if not source:
        return False
    module = source.replace(".", "/")
    return file == source or file.endswith((f"/{module}.py", f"/{module}/__init__.py")) or file.startswith(f"{source}/")


def stays_alone(times: Iterable[float], now: float) -> bool:
    """Whether a loop that had to run alone at these times stays so: its neighbours have paid often enough."""
    return sum(1 for at in times if now - at < STAY_WINDOW_S) >= STAY_AFTER
