"""Log lines, from the agents that run a loop to whoever is reading. Bounded: lines are dropped, loops never wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1.event_pb2 import LogLine
from treadle_controller.cluster.model import ReplicaId
from treadle_controller.leader import wire
from treadle_controller.leader.image import Image
from treadle_controller.leader.stream import AgentStream

_MOST_LINES: Final = 2_000


class LogReader:
    """One reader of the lines of a workflow, or of one of its loops and that loop's tails."""

    def __init__(self, workflow: str, loop: str) -> None:
        self._workflow = workflow
        self._loop = loop
        self._lines: list[LogLine] = []
        self._dropped = 0
        self._came = asyncio.Event()

    def wants(self, workflow: str, loop: str) -> bool:
        if workflow != self._workflow:
            return False
        return not self._loop or loop == self._loop or loop.startswith(f"{self._loop}~")

    def give(self, lines: Iterable[LogLine], dropped: int) -> None:
        wanted = [line for line in lines if self.wants(line.workflow, line.loop)]
        room = _MOST_LINES - len(self._lines)
        self._lines += wanted[:room]
        self._dropped += dropped + len(wanted[room:])
        if self._lines or self._dropped:
            self._came.set()

    async def take(self) -> tuple[list[LogLine], int]:
        """Wait for lines; return them and how many were dropped before them."""
        await self._came.wait()
        self._came.clear()
        taken, self._lines = self._lines, []
        dropped, self._dropped = self._dropped, 0
        return taken, dropped


class LogHub:
    """Tells agents which lines are wanted, and hands them to the readers."""

    def __init__(self, image: Image, streams: dict[str, AgentStream]) -> None:
        self._image = image
        self._streams = streams
        self._readers: set[LogReader] = set()
        self._told: dict[str, tuple[str, frozenset[str]]] = {}  # agent -> session, what was asked for

    @contextmanager
    def read(self, workflow: str, loop: str) -> Iterator[LogReader]:
        reader = LogReader(workflow, loop)
        self._readers.add(reader)
        self.subscribe()
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self.subscribe()

    def give(self, lines: Sequence[LogLine], dropped: int) -> None:
        for reader in self._readers:
            reader.give(lines, dropped)

    def subscribe(self) -> None:
        """Tell the agents what is wanted of them, where that has changed."""
        if not self._readers and not self._told:
            return
        for agent, stream in self._streams.items():
            wanted = self._wanted(agent)
            state = (stream.session, frozenset(map(str, wanted)))
            if self._told.get(agent, (stream.session, frozenset())) != state:
                refs = [wire.loop_ref(self._image.namespace, id_) for id_ in wanted]
                stream.send(pb.SessionResponse(log_subscription=pb.LogSubscription(loops=refs)))
            if wanted:
                self._told[agent] = state
            else:
                self._told.pop(agent, None)

    def _wanted(self, agent: str) -> list[ReplicaId]:
        if not self._readers:
            return []
        held = (assignment.id for _, assignment in self._image.held_by(agent))
        return [id_ for id_ in held if any(reader.wants(id_.workflow, id_.loop) for reader in self._readers)]
