"""The reconciler: for one workflow, what to do so that what is becomes what is wanted.

Level-triggered: it looks at the whole picture each time and is called again until nothing is left to do, so it
does not matter which event came first or was missed.

    not held --Place--> held --Update--> held
                         |  --Release--> releasing --(agent: STOPPED, COMPLETED, ERROR)--> Free
                         |  --(agent: COMPLETED, STOPPED; agent lost)--> Free

A loop is let go before its tails, and a tail only when its queue is empty: what the loop committed is worked off.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from treadle.workflow.plan import Plan, Pool
from treadle_controller.cluster import rollout, scheduler
from treadle_controller.cluster.actions import Action, Drop, Free, Place, Probe, Release, Update, Wait
from treadle_controller.cluster.fleet import Agent, Fleet, Liveness, Need
from treadle_controller.cluster.model import Assignment, Desired, LoopRecord, Observed, ReplicaId, State, Why
from treadle_controller.cluster.phase import is_finished

_MOST_LEAVING: Final = 8  # loops that an agent hands over at a time: the others run on meanwhile
_AFTER_ITS_QUEUE: Final = ("removed", "stopped", "fresh")


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is known of one workflow. Loops in plan order: a tail after its loop."""

    loops: Mapping[str, LoopRecord]
    assignments: Mapping[ReplicaId, Assignment]
    observed: Mapping[ReplicaId, Observed]
    tops: Mapping[str, int] = field(default_factory=dict)  # how many replicas a loop ever had assigned
    drained: AbstractSet[str] = field(default_factory=frozenset)  # tails whose queues are empty, or past their deadline
    max_parallel: int = 1
    healthy: int = 0  # the last healthy revision: loops of a later one are in the middle of a rollout
    moves: Mapping[ReplicaId, str] = field(default_factory=dict)  # replicas that are to go to another agent


def reconcile(picture: Picture, fleet: Fleet, only: Collection[str] | None = None) -> list[Action]:
    """Return the next actions. Takes the slots of what it places from the fleet; the caller gives them back.

    `only` names the loops to look at, with their tails: enough as long as nothing waits for anything.
    """
    return list(_Pass(picture, fleet).actions(only))


class _Pass:
    def __init__(self, picture: Picture, fleet: Fleet) -> None:
        self._picture = picture
        self._fleet = fleet
        self._changing: set[str] | None = None  # found when it is asked for
        self._placed: dict[ReplicaId, str] = {}
        self._leaving: dict[str, int] = {}  # by agent, those of this pass
        self._needs: dict[tuple[Pool, tuple[str | None, ...], int], Need] = {}  # placements live as long as the picture

    def actions(self, only: Collection[str] | None) -> Iterator[Action]:
        assignments = self._picture.assignments
        for loop in self._picture.loops.values() if only is None else self._chosen(only):
            ids = (*loop.replicas, *self._extra(loop))
            for id_ in ids:
                assignment = assignments.get(id_)
                if assignment is not None and assignment.held:
                    yield from self._taken(loop, assignment)
                elif (action := self._unheld(loop, assignment or Assignment(id_))) is not None:
                    yield action
            if loop.removed and not any(self._is_held(id_) for id_ in ids):
                yield Drop(loop.name)

    def _chosen(self, names: Collection[str]) -> list[LoopRecord]:
        """Return loops by name, each before its tails."""
        found: dict[str, LoopRecord] = {}
        left = [name for name in names if name in self._picture.loops]
        left.sort(key=lambda name: name.count("~"))
        for name in left:  # which grows by tails, and tails of tails
            loop = self._picture.loops[name]
            found.setdefault(loop.name, loop)
            left += [tail for tail in loop.plan.tails if tail in self._picture.loops and tail not in found]
        return list(found.values())

    def _extra(self, loop: LoopRecord) -> list[ReplicaId]:
        """Return the replicas that a loop no longer has and somebody still holds."""
        top = self._picture.tops.get(loop.name, 0)
        if top <= loop.count:
            return []
        beyond = range(loop.count, top)
        ids = (ReplicaId(loop.workflow, loop.name, index) for index in beyond)
        return [id_ for id_ in ids if self._is_held(id_)]

    # Held by an agent.

    def _taken(self, loop: LoopRecord, assignment: Assignment) -> Iterator[Action]:
        freed = self._freed(loop, assignment)
        if freed is not None:
            yield freed
        elif not assignment.releasing:
            yield from self._held(loop, assignment)

    def _freed(self, loop: LoopRecord, assignment: Assignment) -> Free | None:
        agent = self._fleet.get(assignment.agent)
        if agent is None or agent.liveness is Liveness.LOST:
            return Free(assignment.id, State.LOST, Why("agent-lost", f"agent {assignment.agent} is lost"))
        return self._ended(loop, assignment) or self._forced(loop, assignment, agent)

    def _forced(self, loop: LoopRecord, assignment: Assignment, agent: Agent) -> Free | None:
        """Return the end of a replica whose agent does not let it go itself; its epoch fences what may still run."""
        if agent.overdue:
            return Free(assignment.id, State.LOST, Why("drain-forced", f"the time to drain {agent.name} is over"))
        if agent.starved and self._has_other_place(loop, assignment):
            return Free(assignment.id, State.LOST, Why("redis-lost", f"Redis does not answer agent {agent.name}"))
        return None

    def _ended(self, loop: LoopRecord, assignment: Assignment) -> Free | None:
        seen = self._seen(assignment)
        if seen is None:
            return None
        if seen.state is State.COMPLETED:
            asked_again = loop.restarts != assignment.restarts and not assignment.releasing
            return None if asked_again else Free(assignment.id, State.COMPLETED)
        if seen.state is State.STOPPED or (assignment.releasing and seen.state in (State.ERROR, State.LOST)):
            return Free(assignment.id, seen.state, seen.why)
        if seen.state is State.LOST and seen.why is not None and seen.why.code == "fenced":
            # Somebody else took the epoch that this agent was given: a second process of its name. A new one ends that.
            return Free(assignment.id, State.LOST, seen.why)
        return None

    def _held(self, loop: LoopRecord, assignment: Assignment) -> Iterator[Action]:
        why = self._must_go(loop, assignment)
        if why is not None:
            yield from self._let_go(loop, assignment, why)
        elif loop.desired is Desired.PAUSED and loop.plan.tail_of and assignment.desired is not Desired.PAUSED:
            waits = yield from self._await_drained(loop, assignment)
            if not waits:
                yield Update(assignment.id, loop.desired, loop.restarts)
        elif (assignment.desired, assignment.restarts) != (loop.desired, loop.restarts):
            yield Update(assignment.id, loop.desired, loop.restarts)

    def _must_go(self, loop: LoopRecord, assignment: Assignment) -> Why | None:
        return self._is_unwanted(loop, assignment) or self._is_outdated(loop, assignment)

    def _is_unwanted(self, loop: LoopRecord, assignment: Assignment) -> Why | None:
        if loop.removed:
            return Why("removed", "the document no longer has this loop")
        if assignment.id.replica >= loop.count:
            return Why("scaled-down", f"the loop has {loop.count} replicas now")
        if loop.desired is Desired.STOPPED:
            return Why("stopped", "somebody stopped it")
        return None

    def _is_outdated(self, loop: LoopRecord, assignment: Assignment) -> Why | None:
        if loop.fresh > assignment.restarts:
            return Why("fresh", "its state is to be forgotten")
        if rollout.is_changed(loop, assignment):
            return Why("changed", f"revision {loop.revision} changes it")
        agent = self._fleet.agents[assignment.agent]
        if (agent.code or assignment.code) and self._fleet.code_of(agent.name, loop.plan) not in (
            None,
            assignment.code,
        ):
            return Why("code-changed", f"agent {assignment.agent} has new code of its nodes")
        if agent.draining:
            return Why("agent-draining", f"agent {assignment.agent} is being drained")
        if self._picture.moves.get(assignment.id, agent.name) != agent.name:
            return Why("rebalanced", f"it is handed over to {self._picture.moves[assignment.id]}")
        beside = self._beside(loop, assignment.id)
        if beside and beside != assignment.agent:
            return Why("follows-loop", f"its loop runs on {beside}")
        return None

    def _let_go(self, loop: LoopRecord, assignment: Assignment, why: Why) -> Iterator[Action]:
        if why.code in ("changed", "code-changed") and not self._may_change(loop):
            yield Wait(assignment.id, Why("rollout", "other loops of its workflow are changed first"))
            return
        if why.code == "agent-draining":
            waits = yield from self._await_turn(loop, assignment)
            if waits:
                return
        if loop.plan.tail_of and why.code in _AFTER_ITS_QUEUE:
            waits = yield from self._await_drained(loop, assignment)
            if waits:
                return
        yield Release(assignment.id, why)

    def _may_change(self, loop: LoopRecord) -> bool:
        if self._changing is None:
            picture = self._picture
            self._changing = rollout.changing(
                picture.loops.values(), picture.assignments, picture.observed, picture.healthy
            )
        if loop.name not in self._changing and len(self._changing) >= self._picture.max_parallel:
            return False
        self._changing.add(loop.name)
        return True

    def _await_turn(self, loop: LoopRecord, assignment: Assignment) -> Generator[Action, None, bool]:
        """Wait until a loop may leave an agent that is drained; returns whether it has to wait.

        It needs a place elsewhere, unless the agent's process ends anyway. A tail goes after its loop, and when
        what its loop handed to it is worked off.
        """
        agent = self._fleet.agents[assignment.agent]
        if loop.plan.tail_of:
            return (yield from self._await_own_queue(loop, assignment))
        if agent.releasing + self._leaving.get(agent.name, 0) >= _MOST_LEAVING:
            yield Wait(assignment.id, Why("drain-turn", f"other loops of {agent.name} are handed over first"))
            return True
        if not agent.stopping and not self._has_other_place(loop, assignment):
            yield Wait(assignment.id, Why("drain-no-place", f"{agent.name} is drained, and no other agent can take it"))
            return True
        self._leaving[agent.name] = self._leaving.get(agent.name, 0) + 1
        return False

    def _await_own_queue(self, tail: LoopRecord, assignment: Assignment) -> Generator[Action, None, bool]:
        above = self._picture.assignments.get(ReplicaId(tail.workflow, tail.plan.tail_of or "", assignment.id.replica))
        if above is not None and above.held and above.agent == assignment.agent:
            yield Wait(assignment.id, Why("loop-drains-first", f"{tail.plan.tail_of} is handed over before its tail"))
            return True
        if tail.count > 1 or tail.name in self._picture.drained or self._is_paused(assignment):
            return False  # of several replicas the others work off what is left, a paused one works off nothing
        yield Probe(tail.name, tail.plan.reads)
        yield Wait(assignment.id, Why("tail-drains", "it works off what its loop handed to it"))
        return True

    def _has_other_place(self, loop: LoopRecord, assignment: Assignment) -> bool:
        """Whether another agent could take a replica now; where a tail goes is its loop's question."""
        if loop.plan.tail_of:
            loop = self._picture.loops.get(loop.plan.tail_of, loop)
        tails = [tail.plan for name in loop.plan.tails if (tail := self._picture.loops.get(name)) is not None]
        need = scheduler.need_of(loop.plan, tails)
        agents = self._fleet.agents.values()
        return any(
            agent.name != assignment.agent and agent.open and need.fits(agent) and agent.free(need.pool) >= need.slots
            for agent in agents
        )

    def _await_drained(self, tail: LoopRecord, assignment: Assignment) -> Generator[Action, None, bool]:
        """Wait until the tail's loop is quiet and its queue empty; returns whether it has to wait."""
        if tail.name in self._picture.drained:
            return False
        above = self._picture.loops.get(tail.plan.tail_of or "")
        if above is not None and self._may_push(above, tail.name):
            yield Wait(assignment.id, Why("loop-drains-first", f"{above.name} is drained before its tail"))
            return True
        if self._is_paused(assignment):
            return False  # it works nothing off, however long one waits; what is in its queue stays there
        yield Probe(tail.name, tail.plan.reads)
        yield Wait(assignment.id, Why("tail-drains", "it works off what its loop handed to it"))
        return True

    def _may_push(self, loop: LoopRecord, tail: str) -> bool:
        """Whether any replica of a loop may still hand something to a tail."""
        for id_ in (*loop.replicas, *self._extra(loop)):
            assignment = self._picture.assignments.get(id_)
            if assignment is None or not assignment.held or self._is_paused(assignment):
                continue
            if tail in loop.plan.tails or rollout.is_changed(loop, assignment):
                return True
        return False

    def _is_paused(self, assignment: Assignment) -> bool:
        seen = self._seen(assignment)
        return seen is not None and seen.state is State.PAUSED and seen.sequence == assignment.sequence

    # Held by nobody.

    def _unheld(self, loop: LoopRecord, assignment: Assignment) -> Action | None:
        wanted = not loop.removed and loop.desired is not Desired.STOPPED and assignment.id.replica < loop.count
        if not wanted or is_finished(loop, assignment):
            return None
        left_behind = self._tail_left_behind(loop, assignment.id.replica)
        if left_behind:
            return Wait(assignment.id, Why("tail-drains", f"its tail {left_behind} works off its queue first"))
        choice = self._choose(loop, assignment)
        if isinstance(choice, Why):
            return Wait(assignment.id, choice)
        self._fleet.take(choice, loop.plan.pool)
        self._placed[assignment.id] = choice
        fresh = loop.fresh > assignment.restarts
        return Place(assignment.id, choice, loop, forget=fresh, reopen=assignment.completed)

    def _choose(self, loop: LoopRecord, assignment: Assignment) -> str | Why:
        replica = assignment.id.replica
        pinned = self._beside(loop, assignment.id)
        if loop.plan.tail_of and not pinned and self._comes(loop.plan.tail_of, replica):
            return Why("tail-waits", f"{loop.plan.tail_of}, whose tail it is, is not placed yet")
        need = self._need(loop.plan, self._tails_to_come(loop, replica))
        others = loop.replicas if loop.count > 1 else ()
        avoid = {agent for id_ in others if (agent := self._agent_of(id_))}
        home = self._picture.moves.get(assignment.id, assignment.agent)
        return scheduler.choose(self._fleet, need, home=home, pinned=pinned, avoid=avoid)

    def _need(self, plan: Plan, tails: list[Plan]) -> Need:
        """Return what a loop needs; made once for all that need the same, as thousands of one document may."""
        if tails:
            return scheduler.need_of(plan, tails)
        key = (plan.pool, tuple([step.uses for step in plan.steps]), id(plan.placement))
        need = self._needs.get(key)
        if need is None:
            need = self._needs[key] = scheduler.need_of(plan)
        return need

    def _tail_left_behind(self, loop: LoopRecord, replica: int) -> str:
        """Return a tail that is still on an agent that is drained, where only it works its queue off."""
        for name in loop.plan.tails if loop.count == 1 else ():
            held = self._picture.assignments.get(ReplicaId(loop.workflow, name, replica))
            agent = self._fleet.get(held.agent) if held is not None and held.held else None
            if agent is not None and agent.draining and agent.liveness is not Liveness.LOST:
                return name
        return ""

    def _tails_to_come(self, loop: LoopRecord, replica: int) -> list[Plan]:
        """Return the tails that are not held yet and have to fit on the same agent."""
        if not loop.plan.tails:
            return []
        tails = [tail for name in loop.plan.tails if (tail := self._picture.loops.get(name)) is not None]
        return [tail.plan for tail in tails if not self._is_held(ReplicaId(loop.workflow, tail.name, replica))]

    def _beside(self, loop: LoopRecord, id_: ReplicaId) -> str:
        """Return the agent that holds the loop that this one is a tail of, or an empty string."""
        if loop.plan.tail_of is None:
            return ""
        return self._agent_of(ReplicaId(id_.workflow, loop.plan.tail_of, id_.replica))

    def _agent_of(self, id_: ReplicaId) -> str:
        """Return who holds a replica and keeps it, those just placed included."""
        if id_ in self._placed:
            return self._placed[id_]
        assignment = self._picture.assignments.get(id_)
        return assignment.agent if assignment is not None and assignment.held and not assignment.releasing else ""

    def _comes(self, name: str, replica: int) -> bool:
        """Whether a loop is yet to be placed."""
        loop = self._picture.loops.get(name)
        if loop is None or loop.removed or loop.desired is Desired.STOPPED:
            return False
        assignment = self._picture.assignments.get(ReplicaId(loop.workflow, name, replica))
        return assignment is None or not is_finished(loop, assignment)

    def _is_held(self, id_: ReplicaId) -> bool:
        assignment = self._picture.assignments.get(id_)
        return assignment is not None and assignment.held

    def _seen(self, assignment: Assignment) -> Observed | None:
        seen = self._picture.observed.get(assignment.id)
        return seen if seen is not None and seen.epoch == assignment.epoch else None
