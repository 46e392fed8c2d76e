"""Agents as the scheduler sees them: labels, node types, slots per pool, and who may get more.

A fleet is a working copy: slots are taken as loops are placed, so one pass can place thousands. Candidates of
one kind of need are kept in a heap by load, which makes a placement logarithmic in the number of agents.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from treadle.workflow.plan import Plan, Pool
from treadle_controller.cluster.model import Why


class Liveness(IntEnum):
    """The numbers are those of the wire's AgentState."""

    READY = 10
    DISCONNECTED = 20  # held: it may come back
    LOST = 30


@dataclass(slots=True)
class Agent:
    """One agent. `slots` are all that it has, `used` those taken."""

    name: str
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[Pool, int] = field(default_factory=dict)
    uses: frozenset[str] = frozenset()
    liveness: Liveness = Liveness.READY
    cordoned: bool = False
    draining: bool = False
    stopping: bool = False  # drained because its process is about to end
    overdue: bool = False  # the drain's deadline is over: what is left is forced off
    redis_reachable: bool = True
    starved: bool = False  # its Redis has not answered it for so long that its loops are placed elsewhere
    code: Mapping[str, str] | None = None  # digests of the users' node types that it offers; None: it has not said
    used: dict[Pool, int] = field(default_factory=dict)
    releasing: int = 0  # replicas that it is letting go now

    @property
    def open(self) -> bool:
        """Whether it may get new loops."""
        return self.liveness is Liveness.READY and not self.cordoned and not self.draining and self.redis_reachable

    def free(self, pool: Pool) -> int:
        return self.slots.get(pool, 0) - self.used.get(pool, 0)

    def load(self, pool: Pool) -> float:
        return self.used.get(pool, 0) / max(1, self.slots.get(pool, 0))


@dataclass(frozen=True, slots=True)
class Need:
    """What a loop needs of an agent; `slots` counts its tails that have to fit beside it."""

    pool: Pool
    uses: frozenset[str] = frozenset()
    labels: frozenset[tuple[str, str]] = frozenset()
    prefer: frozenset[tuple[str, str]] = frozenset()
    slots: int = field(default=1, compare=False)

    def fits(self, agent: Agent) -> bool:
        """Whether the agent could run it if it had room."""
        return self.uses <= agent.uses and self.labels <= set(agent.labels.items())

    def liking(self, agent: Agent) -> int:
        return len(self.prefer & set(agent.labels.items()))


_Entry = tuple[int, float, str]  # less liking, load, name: the least is the best


class Fleet:
    """All known agents by name."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self._heaps: dict[Need, list[_Entry]] = {}
        self._whys: dict[tuple[Need, int], Why] = {}  # as long as nothing changes, why no agent will do

    def __contains__(self, name: str) -> bool:
        return name in self.agents

    def get(self, name: str) -> Agent | None:
        return self.agents.get(name)

    def put(self, agent: Agent) -> None:
        """Add an agent, or replace what is known of it; the slots taken stay taken."""
        known = self.agents.get(agent.name)
        if known is not None:
            agent.used, agent.releasing = known.used, known.releasing
        self.agents[agent.name] = agent
        self.changed()

    def copy(self) -> Fleet:
        """Return a fleet whose slots can be taken without taking them here."""
        made = Fleet()
        made.agents = {name: replace(agent, used=dict(agent.used)) for name, agent in self.agents.items()}
        return made

    def code_of(self, name: str, plan: Plan) -> str | None:
        """Return the digest of the users' code that a loop would run on an agent; None when that is not known."""
        agent = self.agents.get(name)
        if agent is None or agent.code is None:
            return None
        if not agent.code:
            return ""
        used = sorted({step.uses for step in plan.steps if step.uses is not None and step.uses in agent.code})
        text = "\n".join(f"{uses} {agent.code[uses]}" for uses in used)
        return hashlib.sha256(text.encode()).hexdigest()[:16] if used else ""

    def remove(self, name: str) -> None:
        self.agents.pop(name, None)
        self.changed()

    def changed(self) -> None:
        """Say that an agent was changed in place."""
        self._heaps.clear()
        self._whys.clear()

    def take(self, name: str, pool: Pool) -> None:
        agent = self.agents.get(name)
        if agent is not None:
            agent.used[pool] = agent.used.get(pool, 0) + 1

    def give(self, name: str, pool: Pool) -> None:
        agent = self.agents.get(name)
        if agent is not None:
            agent.used[pool] = max(0, agent.used.get(pool, 0) - 1)
            self.changed()

    def why_not(self, need: Need, explain: Callable[[Fleet, Need], Why]) -> Why:
        """Return why no agent can take a loop, worked out once per kind of need."""
        key = (need, need.slots)
        if key not in self._whys:
            self._whys[key] = explain(self, need)
        return self._whys[key]

    def best(self, need: Need, avoid: Collection[str]) -> str | None:
        """Return the least loaded agent that fits and has room, an avoided one only if there is no other."""
        heap = self._heap(need)
        aside: list[_Entry] = []
        second: str | None = None
        found: str | None = None
        while heap:
            liking, load, name = heap[0]
            agent = self.agents[name]
            free = agent.free(need.pool)
            if free >= need.slots and load != (now := agent.load(need.pool)):
                heapq.heapreplace(heap, (liking, now, name))  # loops were placed on it since
                continue
            if free >= need.slots and name not in avoid:
                found = name
                break
            if free >= need.slots:
                second = second or name
            entry = heapq.heappop(heap)
            if free > 0:
                aside.append(entry)
        for entry in aside:
            heapq.heappush(heap, entry)
        return found or second

    def _heap(self, need: Need) -> list[_Entry]:
        heap = self._heaps.get(need)
        if heap is None:
            agents = (a for a in self.agents.values() if a.open and need.fits(a) and a.free(need.pool) > 0)
            heap = [(-need.liking(agent), agent.load(need.pool), agent.name) for agent in agents]
            heapq.heapify(heap)
            self._heaps[need] = heap
        return heap
