"""One agent's stream, as the leader sees it: what is sent to it, in order, by one writer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle_controller.cluster.model import ReplicaId, Why
from treadle_controller.cluster.outbox import Outbox
from treadle_controller.leader import wire

_MOST_WAITING: Final = 1_000  # messages; an agent that reads none of them is cut off

Change = wire.Order | pb.Release


class AgentStream:
    """Messages for one agent in one session. Its writer asks for one after the other; it ends after a Goodbye."""

    def __init__(self, agent: str, session: str, clock: Callable[[], float], *, redis_id: str = "") -> None:
        self.agent = agent
        self.session = session
        self.redis_id = redis_id  # of the namespace that it was told to expect
        self.why: Why | None = None  # it was ended, if the controller did
        self.last_report = 0  # the newest report whose events were taken over
        self._clock = clock
        self._outbox: Outbox[Change] = Outbox()
        self._messages: deque[pb.SessionResponse] = deque()
        self._writer: asyncio.Future[None] | None = None  # the writer has written all, and waits
        self._flushing: asyncio.Handle | None = None
        self._ended = False

    def welcome(self, welcome: pb.Welcome, full: Iterable[Change]) -> None:
        self.send(pb.SessionResponse(welcome=welcome))
        self._send_changes(pb.ASSIGNMENTS_KIND_COMPLETE, 0, self._outbox.complete(self._clock()), full)

    def offer(self, id_: ReplicaId, change: Change) -> None:
        """Send a change of the assignments with the next batch; those of one round go together."""
        self._outbox.offer(id_, change)
        if self._flushing is None and not self._ended:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush_later)

    def answer_beat(self, sequence: int, interval_s: float | None = None) -> None:
        """Answer a heartbeat, and say which set the agent must have by now; `interval_s` is a new interval."""
        message = pb.SessionResponse()
        answer = message.heartbeat_answer
        answer.sequence, answer.assignments = sequence, self._outbox.version
        if interval_s is not None:
            answer.heartbeat_interval.FromMilliseconds(round(interval_s * 1000))
        self.send(message)

    def send(self, message: pb.SessionResponse) -> None:
        if self._ended:
            return
        if len(self._messages) >= _MOST_WAITING:
            self.end(Why("agent-does-not-read", "the agent does not read what it is sent"))
            return
        self._messages.append(message)
        self._wake_writer()

    def end(self, why: Why | None = None) -> None:
        """End the stream, with a word of goodbye where there is a reason."""
        if self._ended:
            return
        if self._flushing is not None:
            self._flushing.cancel()
        if why is not None:
            self.why = why
            self._messages.append(pb.SessionResponse(goodbye=pb.Goodbye(reason=wire.reason(why))))
        self._ended = True
        self._wake_writer()

    async def next_message(self) -> pb.SessionResponse | None:
        """Return what is to be sent next, None when the stream has ended. There is one writer."""
        while not self._messages:
            if self._ended:
                return None
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        return self._messages.popleft()

    def _wake_writer(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _flush(self) -> None:
        """Send what is due; come back when the rest is."""
        while (due := self._outbox.due(self._clock())) is not None:
            now = self._clock()
            if due > now:
                if self._flushing is None:
                    self._flushing = asyncio.get_running_loop().call_later(due - now, self._flush_later)
                return
            batch = self._outbox.take(now)
            kind = pb.ASSIGNMENTS_KIND_INCREMENTAL
            self._send_changes(kind, batch.applies_to, batch.results_in, batch.changes)

    def _send_changes(
        self, kind: pb.AssignmentsKind.ValueType, applies_to: int, results_in: int, changes: Iterable[Change]
    ) -> None:
        message = pb.SessionResponse()
        told = message.assignments
        told.kind, told.applies_to, told.results_in = kind, applies_to, results_in
        for change in changes:
            if isinstance(change, pb.Release):
                told.releases.append(change)
            else:
                change.fill(told.set.add())
        self.send(message)

    def _flush_later(self) -> None:
        self._flushing = None
        self._flush()
