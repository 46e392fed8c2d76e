"""The roster: agents as they come, report and go. Turns messages of sessions into what the image observes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from google.protobuf import duration_pb2

from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import loop_pb2
from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import Assignment, Observed, ReplicaId, State, Why
from treadle_controller.cluster.sessions import Lost, Refused, Sessions
from treadle_controller.leader import node_types, wire
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.leader.stream import AgentStream
from treadle_controller.store.records import AgentRecord

if TYPE_CHECKING:
    from treadle_controller.leader.leader import Leader

_UNTOLD: Final = (State.ASSIGNED, State.STARTING, State.DRAINING)  # passing states are no events
_DECISIVE: Final = (
    State.STOPPED,
    State.COMPLETED,
    State.ERROR,
    State.PAUSED,
    State.LOST,
)  # the reconciler may have to act
_PATIENCE_S: Final = 5.0  # an agent says at once that it has heard; if it does not, it is told again
_MOST_AWAY_S: Final = 0.5  # between two ticks; a longer gap was our own pause, not the agents' silence


class Roster:
    """Agents and their streams. Works on the leader's image and tells it what to look at again."""

    def __init__(self, leader: Leader, sessions: Sessions) -> None:
        self._leader = leader
        self._image = leader.image
        self.sessions = sessions
        self.streams: dict[str, AgentStream] = {}
        self.heartbeats: dict[str, float] = {}  # wall clock, for people
        self._plans = wire.Plans()
        self._ticked_at = leader.clock()
        self._sent: deque[tuple[float, ReplicaId]] = deque()  # what was sent, and when it has to be answered
        for name in self._image.agents:
            sessions.expect(name)

    # Coming and going.

    def hello(self, hello: pb.Hello) -> AgentStream | Why:
        """Begin a session: adopt what the agent runs, and send it its full set. Returns why not, if refused."""
        opened = self.sessions.open(hello.agent, hello.boot_id, self._leader.clock())
        if isinstance(opened, Refused):
            self._end(hello.agent, opened.ends, opened.why)
            self._leader.journal.add("agent", hello.agent, opened.why.code, opened.why.message)
            return opened.why
        self._end(hello.agent, opened.replaces, Why("session-replaced", "a newer session of this agent exists"))
        stream = AgentStream(hello.agent, opened.session, self._leader.clock)
        self.streams[hello.agent] = stream
        self._know(hello)
        self._adopt(hello)
        stream.welcome(self._welcome(opened.session, opened.interval_s, opened.lease_s), self._full_set(hello.agent))
        self._leader.journal.add("agent", hello.agent, "agent-connected", f"runs {len(hello.running)} loops")
        for problem in hello.catalog_errors:
            self._leader.journal.add("agent", hello.agent, problem.code or "bad-catalog", problem.message)
        self._leader.logs.subscribe()
        self._touch_waiting()
        return stream

    def closed(self, stream: AgentStream) -> None:
        """Take note that a stream ended, however it did."""
        stream.end()
        if not self.sessions.close(stream.agent, stream.session, self._leader.clock()):
            return
        self.streams.pop(stream.agent, None)
        self._set_liveness(stream.agent, Liveness.DISCONNECTED)
        because = f": {stream.why.message}" if stream.why is not None else ""
        message = f"its session ended{because}; its loops are held"
        self._leader.journal.add("agent", stream.agent, "agent-disconnected", message)

    def tick(self) -> None:
        """Judge the agents whose time is over; to be called many times a second."""
        now = self._leader.clock()
        away, self._ticked_at = now - self._ticked_at, now
        if away > _MOST_AWAY_S:
            self.sessions.postpone(away)
        for lost in self.sessions.tick(now):
            self._lose(lost)
        while self._sent and self._sent[0][0] <= now:
            self._send_again(self._sent.popleft()[1])

    def _lose(self, lost: Lost) -> None:
        self._end(lost.agent, lost.session, lost.why)
        agent = self._image.fleet.get(lost.agent)
        if agent is None or agent.liveness is Liveness.LOST:
            return
        count = sum(1 for _ in self._image.held_by(lost.agent))
        self._set_liveness(lost.agent, Liveness.LOST)
        message = f"{lost.why.message}; its {count} loops are placed elsewhere"
        self._leader.journal.add("agent", lost.agent, "agent-lost", message)

    def _end(self, agent: str, session: str, why: Why) -> None:
        stream = self.streams.get(agent)
        if session and stream is not None and stream.session == session:
            stream.end(why)
            del self.streams[agent]

    def _know(self, hello: pb.Hello) -> None:
        """Take over what the agent says of itself and of its node types."""
        known = self._image.agents.get(hello.agent)
        offered = [node_types.from_wire(one) for one in hello.node_types]
        record = AgentRecord(
            name=hello.agent,
            version=hello.version,
            labels=dict(hello.labels),
            slots={"thread": hello.slots.thread, "process": hello.slots.process, "asyncio": hello.slots.asyncio},
            uses=tuple(sorted(one.uses for one in offered)),
            cordoned=known.cordoned if known is not None else False,
            seen=time.time(),
        )
        new = {one.uses: one for one in offered if self._image.node_types.get(one.uses) != one}
        self._image.node_types |= new
        self._image.agents[hello.agent] = record
        self._leader.changes.agents[hello.agent] = record
        self._leader.changes.node_types |= new
        self._image.fleet.put(as_agent(record))
        self._touch_held(hello.agent)

    def _adopt(self, hello: pb.Hello) -> None:
        """Take over what the agent runs; what it was to let go and does not run, is let go."""
        self.observe(hello.agent, hello.running)
        running = {wire.replica_id(status.loop): status.epoch for status in hello.running}
        for workflow, assignment in self._image.held_by(hello.agent):
            if running.get(assignment.id) == assignment.epoch:
                self._leader.unsent.pop(assignment.id, None)
            elif assignment.releasing:
                gone = Observed(assignment.epoch, assignment.sequence, State.STOPPED, None, None)
                workflow.observed[assignment.id] = _with_report(gone, workflow.observed.get(assignment.id))
            else:
                workflow.observed.pop(assignment.id, None)

    def _welcome(self, session: str, interval_s: float, lease_s: float) -> pb.Welcome:
        return pb.Welcome(
            session_id=session,
            heartbeat_interval=duration(interval_s),
            lease=duration(lease_s),
            controller=self._leader.name,
            namespace=self._image.namespace,
            redis_id=self._leader.link.redis_id,
        )

    def _full_set(self, agent: str) -> pb.Assignments:
        full = pb.Assignments()
        for workflow, assignment in self._image.held_by(agent):
            if assignment.releasing:
                full.releases.extend(wire.releases(self._image.namespace, [assignment]))
            elif assignment.id not in self._leader.unsent:
                self._expect_answer(assignment.id)
                full.set.append(wire.assignment(self._image, workflow, assignment, self._plans))
        return full

    # Reports.

    def beat(self, stream: AgentStream, session: str) -> bool:
        """Count a message as a sign of life; false when it is of a session that is over."""
        if session != stream.session or not self.sessions.beat(stream.agent, session, self._leader.clock()):
            return False
        self.heartbeats[stream.agent] = time.time()
        return True

    def heartbeat(self, stream: AgentStream, beat: pb.Heartbeat) -> None:
        self.observe(stream.agent, beat.statuses)
        agent = self._image.fleet.get(stream.agent)
        if agent is not None and agent.redis_reachable != beat.redis_reachable:
            agent.redis_reachable = beat.redis_reachable
            code = "agent-redis-back" if beat.redis_reachable else "agent-redis-lost"
            message = "its Redis answers again" if beat.redis_reachable else "its Redis does not answer it"
            self._leader.journal.add("agent", stream.agent, code, message)
            self._image.fleet.changed()
            self._touch_waiting()
        stream.send(pb.SessionResponse(heartbeat_answer=pb.HeartbeatAnswer(sequence=beat.sequence)))

    def report(self, stream: AgentStream, report: pb.Report) -> None:
        answers = self.observe(stream.agent, report.statuses)
        if report.sequence > stream.last_report:
            stream.last_report = report.sequence
            for event in report.events:
                workflow = event.name.split("/", 1)[0] if event.kind in ("loop", "workflow") else ""
                actor = f"agent {stream.agent}"
                self._leader.journal.add(
                    event.kind, event.name, event.code, event.message, workflow=workflow, actor=actor
                )
        stream.send(pb.SessionResponse(report_answer=pb.ReportAnswer(sequence=report.sequence, answers=answers)))

    def farewell(self, stream: AgentStream) -> None:
        """Drain an agent that is being stopped."""
        agent = self._image.fleet.get(stream.agent)
        if agent is None or agent.draining:
            return
        agent.draining = True
        self._image.fleet.changed()
        self._leader.journal.add("agent", stream.agent, "agent-draining", "it is being stopped, its loops are drained")
        self._touch_held(stream.agent)

    def observe(self, agent: str, statuses: Iterable[loop_pb2.LoopStatus]) -> list[pb.StatusAnswer.ValueType]:
        """Take over statuses, the latest of each replica; returns an answer for each."""
        return [self._observe_one(agent, status) for status in statuses]

    def _observe_one(self, agent: str, status: loop_pb2.LoopStatus) -> pb.StatusAnswer.ValueType:
        id_ = wire.replica_id(status.loop)
        workflow = self._image.workflows.get(id_.workflow)
        assignment = workflow.assignments.get(id_) if workflow is not None else None
        new = wire.observed(status)
        if workflow is None or assignment is None or new is None or assignment.agent != agent:
            return pb.STATUS_ANSWER_IGNORED
        old = workflow.observed.get(id_)
        if new.epoch != assignment.epoch or (old is not None and new.is_older_than(old)):
            return pb.STATUS_ANSWER_IGNORED
        workflow.observed[id_] = new
        if old is None or (old.epoch, old.sequence, old.state, old.why) != (
            new.epoch,
            new.sequence,
            new.state,
            new.why,
        ):
            self._changed(workflow, id_, old, new)
        else:
            self._leader.watchers.figures_changed(workflow.name)
        return pb.STATUS_ANSWER_ACCEPTED

    def _changed(self, workflow: WorkflowImage, id_: ReplicaId, old: Observed | None, new: Observed) -> None:
        if (old is None or old.state is not new.state) and new.state not in _UNTOLD:
            because = f": {new.why.message}" if new.why is not None else ""
            code = f"loop-{new.state.name.lower()}"
            actor = f"agent {workflow.assignments[id_].agent}"
            message = f"{new.state.name.lower()}{because}"
            self._leader.journal.add("loop", str(id_), code, message, workflow=workflow.name, actor=actor)
        if new.state in _DECISIVE or workflow.waits:
            self._leader.touch(workflow.name, id_.loop)
        else:
            self._leader.watchers.state_changed(workflow.name)

    # Sending.

    def send_assignments(self, workflow: WorkflowImage, ids: Iterable[ReplicaId]) -> None:
        """Send held assignments to their agents, where those are connected."""
        for id_ in ids:
            assignment = workflow.assignments.get(id_)
            stream = self.streams.get(assignment.agent) if assignment is not None else None
            if assignment is not None and assignment.held and not assignment.releasing and stream is not None:
                stream.offer(id_, wire.assignment(self._image, workflow, assignment, self._plans))
                self._expect_answer(id_)

    def send_release(self, assignment: Assignment) -> None:
        stream = self.streams.get(assignment.agent)
        if stream is not None:
            stream.offer(assignment.id, wire.releases(self._image.namespace, [assignment])[0])
            self._expect_answer(assignment.id)

    def _expect_answer(self, id_: ReplicaId) -> None:
        self._sent.append((self._leader.clock() + _PATIENCE_S, id_))

    def _send_again(self, id_: ReplicaId) -> None:
        """Repeat what an agent has not answered: a message can get lost in a stream that lives on."""
        workflow = self._image.workflows.get(id_.workflow)
        assignment = workflow.assignments.get(id_) if workflow is not None else None
        if workflow is None or assignment is None or not assignment.held or id_ in self._leader.unsent:
            return
        seen = workflow.observed.get(id_)
        heard = seen is not None and seen.epoch == assignment.epoch
        if assignment.releasing:
            if seen is None or not heard or seen.state is not State.DRAINING:
                self.send_release(assignment)
        elif seen is None or not heard or seen.sequence < assignment.sequence:
            self.send_assignments(workflow, [id_])

    def set_cordoned(self, name: str, *, cordoned: bool) -> None:
        record = replace(self._image.agents[name], cordoned=cordoned)
        self._image.agents[name] = self._leader.changes.agents[name] = record
        agent = self._image.fleet.agents[name]
        agent.cordoned = cordoned
        self._image.fleet.changed()
        self._touch_waiting()

    def _set_liveness(self, name: str, liveness: Liveness) -> None:
        agent = self._image.fleet.get(name)
        if agent is None:
            return
        agent.liveness = liveness
        self._image.fleet.changed()
        self._touch_held(name)

    def _touch_held(self, agent: str) -> None:
        """Look again at whatever an agent holds."""
        for _, assignment in self._image.held_by(agent):
            self._leader.touch(assignment.id.workflow, assignment.id.loop)

    def _touch_waiting(self) -> None:
        """Look again at whatever could not be placed so far."""
        for workflow in self._image.workflows.values():
            if workflow.waits:
                self._leader.touch(workflow.name)


def as_agent(record: AgentRecord) -> Agent:
    """Return a connected agent as the scheduler sees it."""
    return Agent(
        record.name,
        version=record.version,
        labels=record.labels,
        slots={pool: record.slots.get(pool, 0) for pool in ("thread", "process", "asyncio")},
        uses=frozenset(record.uses),
        cordoned=record.cordoned,
    )


def duration(seconds: float) -> duration_pb2.Duration:
    value = duration_pb2.Duration()
    value.FromNanoseconds(round(seconds * 1e9))
    return value


def _with_report(seen: Observed, before: Observed | None) -> Observed:
    return replace(seen, report=before.report) if before is not None else seen
