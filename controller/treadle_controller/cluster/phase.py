"""What a replica, a loop and a workflow are: derived from what is wanted, assigned and observed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, State, Why

# From the worst to the best: the state of many is the worst of theirs.
_WORST: Final = (
    State.ERROR,
    State.LOST,
    State.BACKOFF,
    State.PENDING,
    State.DRAINING,
    State.ASSIGNED,
    State.STARTING,
    State.STOPPED,
    State.PAUSED,
    State.RUNNING,
    State.COMPLETED,
)
# By the state's number: a state as the key of a dictionary takes longer, and this is asked of every loop.
RANK: Final = tuple(_WORST.index(State(number)) if number in set(State) else 0 for number in range(max(State) + 1))


class Standing(NamedTuple):
    """A state and, where it needs one, its reason."""

    state: State
    why: Why | None = None


def replica_standing(
    loop: LoopRecord, assignment: Assignment | None, seen: Observed | None, agent: Agent | None, waits: Why | None
) -> Standing:
    """Return what one replica is. `waits` says why it could not be placed, if so."""
    if assignment is None or not assignment.held:
        return _unheld(loop, assignment, waits)
    if agent is None or agent.liveness is Liveness.LOST:
        return Standing(State.LOST, Why("agent-lost", f"agent {assignment.agent} is lost"))
    if seen is None or seen.epoch != assignment.epoch:
        state = State.DRAINING if assignment.releasing else State.ASSIGNED
        return Standing(state, waits or _away(agent))
    if seen.state is State.COMPLETED:
        # Shown as completed once that is on disk: a controller that forgot it would start the loop again.
        return Standing(State.DRAINING, Why("completing", "it has completed, which is being stored"))
    if assignment.releasing and seen.state in (State.RUNNING, State.STARTING, State.PAUSED):
        return Standing(State.DRAINING, waits or _away(agent))
    return Standing(seen.state, seen.why or waits or _away(agent))


def worst(standings: Iterable[Standing]) -> Standing:
    """Return the worst of many; of none: stopped."""
    return min(standings, key=lambda standing: RANK[standing.state], default=Standing(State.STOPPED))


def is_finished(loop: LoopRecord, assignment: Assignment) -> bool:
    """Whether a replica completed and nobody asked for it again since."""
    return assignment.completed and assignment.digest == loop.plan.digest and assignment.restarts == loop.restarts


def _unheld(loop: LoopRecord, assignment: Assignment | None, waits: Why | None) -> Standing:
    if assignment is not None and is_finished(loop, assignment):
        return Standing(State.COMPLETED)
    if loop.desired is Desired.STOPPED or loop.removed:
        return Standing(State.STOPPED)
    return Standing(State.PENDING, waits or Why("placing", "it is about to be placed"))


def _away(agent: Agent) -> Why | None:
    if agent.liveness is Liveness.DISCONNECTED:
        return Why("agent-disconnected", f"agent {agent.name} is not connected; its last report is shown")
    return None
