"""Plays a transcript of a drain: commands at the margin, what the controller decides and agents do indented below."""

from __future__ import annotations

from collections.abc import Iterable

from tests.transcripts import Player
from tests.unit.controller.builders import agent, plan
from tests.unit.controller.simulation import Cluster
from treadle_controller.cluster.model import ReplicaId


class DrainPlayer(Player):
    """A cluster without any loops at first. Agents do what they were told last when the transcript says `answer`."""

    def __init__(self) -> None:
        self.cluster = Cluster()

    def do_agent(self, name: str, slots: str) -> Iterable[str]:
        self.cluster.image.fleet.put(agent(name, slots=int(slots)))
        return ()

    def do_apply(self, *loops: str) -> Iterable[str]:
        """Apply loops; `a~t` is a tail of `a`."""
        tails = {name: tuple(one for one in loops if one.startswith(f"{name}~")) for name in loops}
        self.cluster.apply(*(plan(name, tails=tails[name]) for name in loops))
        return ()

    def do_drain(self, name: str) -> Iterable[str]:
        self.cluster.image.fleet.agents[name].draining = True
        self.cluster.image.fleet.changed()
        return ()

    def do_stop(self, name: str) -> Iterable[str]:
        """The agent's process asks to be drained, since it is about to end."""
        self.cluster.image.fleet.agents[name].stopping = True
        return self.do_drain(name)

    def do_deadline(self, name: str) -> Iterable[str]:
        self.cluster.image.fleet.agents[name].overdue = True
        return ()

    def do_fill(self, loop: str) -> Iterable[str]:
        """Let a tail have something in its queue; `empty` ends that."""
        self.cluster.full_queues.add(f"w~{loop}")
        return ()

    def do_empty(self, loop: str) -> Iterable[str]:
        self.cluster.full_queues.discard(f"w~{loop}")
        return ()

    def do_answer(self, loop: str) -> Iterable[str]:
        self.cluster.answer(ReplicaId("w", loop, 0))
        return ()

    def do_settle(self) -> Iterable[str]:
        """Let the controller decide."""
        before = {id_: one.releasing for id_, one in self.cluster.workflow.assignments.items() if one.held}
        changes = self.cluster.settle()
        for id_, one in self.cluster.workflow.assignments.items():
            if one.held and one.releasing and not before.get(id_, False):
                yield f"{id_.loop} is to leave {one.agent}"
        for one in changes.let_go:
            if not one.held:
                yield f"{one.id.loop} is free of {one.agent}"
        for place in changes.placed:
            yield f"{place.id.loop} goes to {place.agent}"
        for id_, why in self.cluster.workflow.waits.items():
            yield f"{id_.loop} waits: {why.code}: {why.message}"
