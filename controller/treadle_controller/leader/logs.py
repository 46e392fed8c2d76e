"""Log lines, from the agents that run a loop to whoever is reading. Bounded: lines are dropped, loops never wait."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1.event_pb2 import LogLine
from treadle_controller.cluster.model import ReplicaId
from treadle_controller.leader import wire
from treadle_controller.leader.image import Image
from treadle_controller.leader.stream import AgentStream

_MOST_LINES: Final = 2_000
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which lines somebody wants: of a workflow, or of one of its loops and that loop's tails; "" narrows nothing."""

    workflow: str
    loop: str = ""
    node: str = ""
    level: str = ""

    def covers(self, workflow: str, loop: str) -> bool:
        """Whether lines of a loop may be wanted."""
        if workflow != self.workflow:
            return False
        return not self.loop or loop == self.loop or loop.startswith(f"{self.loop}~")

    def wants(self, line: LogLine) -> bool:
        """Whether a line is wanted."""
        if not self.covers(line.workflow, line.loop) or (self.node and line.node != self.node):
            return False
        return not self.level or _number(line.level) >= _number(self.level)


class LogReader:
    """One reader. `recalls` are the agents that have yet to tell it of the past: until then their lines are in that."""

    def __init__(self, wish: Wish, number: int) -> None:
        self.wish = wish
        self.number = number
        self.recalls: dict[str, str] = {}  # agent -> session
        self._lines: list[LogLine] = []
        self._dropped = 0
        self._came = asyncio.Event()

    @property
    def caught_up(self) -> bool:
        """Whether all agents have told of the past."""
        return not self.recalls

    def give(self, lines: Iterable[LogLine], dropped: int, *, agent: str = "", session: str = "") -> None:
        """Take in lines as they come."""
        if self.recalls.get(agent) == session and session:
            return
        self._take(lines, dropped)

    def give_past(self, lines: Iterable[LogLine], agent: str) -> None:
        """Take in what an agent remembers."""
        self.recalls.pop(agent, None)
        self._take(lines, 0)
        self._came.set()

    def forget(self, present: dict[str, str]) -> None:
        """Expect nothing more of sessions that are over."""
        gone = [agent for agent, session in self.recalls.items() if present.get(agent) != session]
        for agent in gone:
            del self.recalls[agent]
        if gone:
            self._came.set()

    async def take(self) -> tuple[list[LogLine], int]:
        """Wait for lines; return them and how many were dropped before them."""
        await self._came.wait()
        self._came.clear()
        taken, self._lines = self._lines, []
        dropped, self._dropped = self._dropped, 0
        return taken, dropped

    def _take(self, lines: Iterable[LogLine], dropped: int) -> None:
        wanted = [line for line in lines if self.wish.wants(line)]
        room = _MOST_LINES - len(self._lines)
        self._lines += wanted[:room]
        self._dropped += dropped + len(wanted[room:])
        if self._lines or self._dropped:
            self._came.set()


class LogHub:
    """Tells agents which lines are wanted, and hands them to the readers."""

    def __init__(self, image: Image, streams: dict[str, AgentStream]) -> None:
        self._image = image
        self._streams = streams
        self._readers: dict[int, LogReader] = {}
        self._numbers = itertools.count(1)
        self._told: dict[str, tuple[str, frozenset[str]]] = {}  # agent -> session, what was asked for

    @contextmanager
    def read(self, wish: Wish, since: Timestamp | None = None) -> Iterator[LogReader]:
        """Read lines from now on; with `since`, first what agents still have from then on."""
        reader = LogReader(wish, next(self._numbers))
        self._readers[reader.number] = reader
        if since is not None:
            self._recall(reader, since)
        self.subscribe()
        try:
            yield reader
        finally:
            del self._readers[reader.number]
            self.subscribe()

    def give(self, stream: AgentStream, lines: Sequence[LogLine], dropped: int, recall: int = 0) -> None:
        """Hand on lines; those that answer a recall go to whoever asked for them."""
        if recall:
            asking = self._readers.get(recall)
            if asking is not None:
                asking.give_past(lines, stream.agent)
            return
        for reader in self._readers.values():
            reader.give(lines, dropped, agent=stream.agent, session=stream.session)

    def subscribe(self) -> None:
        """Tell the agents what is wanted of them, where that has changed."""
        if not self._readers and not self._told:
            return
        present = {agent: stream.session for agent, stream in self._streams.items()}
        for reader in self._readers.values():
            reader.forget(present)
        for agent, stream in self._streams.items():
            wanted = self._wanted(agent)
            state = (stream.session, frozenset(map(str, wanted)))
            if self._told.get(agent, (stream.session, frozenset())) != state:
                self._send(stream, wanted)
            if wanted:
                self._told[agent] = state
            else:
                self._told.pop(agent, None)

    def _recall(self, reader: LogReader, since: Timestamp) -> None:
        for agent, stream in self._streams.items():
            loops = [id_ for id_ in self._held(agent) if reader.wish.covers(id_.workflow, id_.loop)]
            if loops:
                reader.recalls[agent] = stream.session
                wanted = self._wanted(agent)
                refs = [wire.loop_ref(self._image.namespace, id_) for id_ in loops]
                self._send(stream, wanted, pb.LogRecall(id=reader.number, loops=refs, since_time=since))
                self._told[agent] = (stream.session, frozenset(map(str, wanted)))

    def _send(self, stream: AgentStream, wanted: list[ReplicaId], recall: pb.LogRecall | None = None) -> None:
        refs = [wire.loop_ref(self._image.namespace, id_) for id_ in wanted]
        stream.send(pb.SessionResponse(log_subscription=pb.LogSubscription(loops=refs, recall=recall)))

    def _wanted(self, agent: str) -> list[ReplicaId]:
        if not self._readers:
            return []
        wishes = [reader.wish for reader in self._readers.values()]
        return [id_ for id_ in self._held(agent) if any(wish.covers(id_.workflow, id_.loop) for wish in wishes)]

    def _held(self, agent: str) -> Iterator[ReplicaId]:
        return (assignment.id for _, assignment in self._image.held_by(agent))


def _number(level: str) -> int:
    """Return how severe a level is; one that is not known is as INFO."""
    return logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
