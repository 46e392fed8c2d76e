"""Agents that give up what they hold: drained by somebody, being stopped, without their Redis, or gone for good."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import Assignment

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader

STARVED_S: Final = 10.0  # without Redis for so long, an agent's loops are placed elsewhere
FORGOTTEN_S: Final = 86_400.0  # a lost agent that holds nothing is forgotten after a day
_FORGET_EACH_S: Final = 60.0


class Leaving:
    """Deadlines of agents. `tick` is called many times a second."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._image = leader.image
        self._drain_by: dict[str, float] = {}
        self._silent_from: dict[str, float] = {}  # since when an agent's Redis does not answer it
        self._looked_at = leader.clock()
        for record in self._image.agents.values():
            if record.drain_until:
                self._drain_by[record.name] = leader.clock() + max(0.0, record.drain_until - time.time())

    def drain(self, name: str, deadline_s: float, *, stopping: bool) -> None:
        """Have an agent's loops handed over; forced off it when the time is over. `stopping`: its process ends."""
        agent = self._image.fleet.agents[name]
        agent.draining, agent.stopping, agent.overdue = True, stopping, False
        self._drain_by[name] = self._leader.clock() + deadline_s
        self._changed(name)

    def stay(self, name: str) -> None:
        """Have an agent keep what it holds."""
        agent = self._image.fleet.agents[name]
        agent.draining = agent.stopping = agent.overdue = False
        self._drain_by.pop(name, None)
        self._changed(name)

    def returned(self, name: str) -> None:
        """Take in that an agent begins a session: a drain that somebody asked for goes on, its own stop is over."""
        until = self._image.agents[name].drain_until
        agent = self._image.fleet.agents[name]
        # It says itself how long that has lasted; what it said in an earlier session may be long over.
        agent.redis_reachable = self._silent_from.pop(name, None) is None
        self._drain_by.pop(name, None)
        if until:
            self.drain(name, max(0.0, until - time.time()), stopping=False)

    def redis(self, name: str, *, reachable: bool, silence_s: float) -> None:
        """Take in whether an agent's Redis answers it, and for how long it has not."""
        agent = self._image.fleet.get(name)
        if agent is None:
            return
        if reachable:
            self._silent_from.pop(name, None)
            agent.starved = False
        else:
            since = self._leader.clock() - silence_s
            self._silent_from[name] = min(since, self._silent_from.get(name, since))
        if agent.redis_reachable == reachable:
            return
        agent.redis_reachable = reachable
        code = "agent-redis-back" if reachable else "agent-redis-lost"
        message = "its Redis answers again" if reachable else "its Redis does not answer it"
        self._leader.journal.add("agent", name, code, message)
        self._image.fleet.changed()
        self._leader.roster.touch_waiting()

    def unheard(self) -> None:
        """Take in that this controller was paused: what agents said before may be over, and they say it again."""
        self._silent_from = dict.fromkeys(self._silent_from, math.inf)

    def tick(self, now: float) -> None:
        for name, by in list(self._drain_by.items()):
            if now >= by:
                del self._drain_by[name]
                self._force(name)
        for name, since in self._silent_from.items():
            agent = self._image.fleet.get(name)
            # While this controller can't reach Redis either, no other agent would do better.
            if agent is not None and not agent.starved and now - since >= STARVED_S and self._leader.link.up:
                agent.starved = True
                message = f"Redis has not answered it for {STARVED_S:g} s: its loops go elsewhere as far as others can"
                self._leader.journal.add("agent", name, "agent-starved", message)
                self._changed(name)
        if now - self._looked_at >= _FORGET_EACH_S:
            self._looked_at = now
            self.forget(time.time())

    def handed_over(self, let_go: Iterable[Assignment]) -> None:
        """Take in what agents no longer hold: it is the turn of others."""
        for name in {one.agent for one in let_go if not one.held}:
            agent = self._image.fleet.get(name)
            if agent is None or not agent.draining:
                continue
            self._leader.roster.touch_held(name)
            if not any(True for _ in self._image.held_by(name)):
                self._leader.journal.add("agent", name, "agent-drained", "it holds no loop any more")

    def forget(self, now: float) -> None:
        """Forget agents that have been lost for long and hold nothing; the time is that of the wall clock."""
        for name, record in list(self._image.agents.items()):
            agent = self._image.fleet.agents[name]
            seen = self._leader.roster.heartbeats.get(name, record.seen)
            is_gone = agent.liveness is Liveness.LOST and not self._leader.roster.sessions.live(name)
            if is_gone and now - seen > FORGOTTEN_S and not any(True for _ in self._image.held_by(name)):
                self._forget_one(name)

    def note_lost(self, agent: Agent) -> None:
        """Keep when an agent was last there, for `forget`."""
        seen = self._leader.roster.heartbeats.get(agent.name, time.time())
        record = replace(self._image.agents[agent.name], seen=seen)
        self._image.agents[agent.name] = self._leader.changes.agents[agent.name] = record
        self._leader.wake_up()

    def _forget_one(self, name: str) -> None:
        del self._image.agents[name]
        self._image.fleet.remove(name)
        self._leader.roster.sessions.forget(name)
        self._leader.roster.heartbeats.pop(name, None)
        self._silent_from.pop(name, None)
        self._leader.changes.agents.pop(name, None)
        self._leader.changes.forgotten.append(name)
        self._leader.wake_up()
        self._leader.journal.add("agent", name, "agent-forgotten", "it has been lost for a day and holds nothing")

    def _force(self, name: str) -> None:
        agent = self._image.fleet.get(name)
        left = sum(1 for _ in self._image.held_by(name))
        if agent is None or not agent.draining or not left:
            return
        agent.overdue = True
        message = f"the time to drain it is over: {left} loops are forced off it"
        self._leader.journal.add("agent", name, "agent-drain-forced", message)
        self._changed(name)

    def _changed(self, name: str) -> None:
        self._image.fleet.changed()
        self._leader.roster.touch_held(name)
