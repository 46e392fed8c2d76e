"""The roster: agents as they come, report and go. Turns messages of sessions into what the image observes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from google.protobuf import duration_pb2
from msgspec.structs import replace

from treadle import protocol
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import loop_pb2
from treadle_controller.cluster.fleet import Agent, Liveness
from treadle_controller.cluster.model import Assignment, Observed, ReplicaId, State, Why
from treadle_controller.cluster.sessions import Lost, Refused, Sessions
from treadle_controller.leader import node_types, speech, wire
from treadle_controller.leader.image import WorkflowImage
from treadle_controller.leader.leaving import Leaving
from treadle_controller.leader.stream import AgentStream, Change
from treadle_controller.leader.tally import Tally
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
_WORDS: Final = {state: state.name.lower() for state in State}
_PATIENCE_S: Final = 5.0  # an agent says at once that it has heard; if it does not, it is told again
_FAREWELL_S: Final = 10.0  # for an agent that is being stopped and does not say how long that may take
_MOST_AWAY_S: Final = 0.5  # between two ticks; a longer gap was our own pause, not the agents' silence


class Roster:
    """Agents and their streams. Works on the leader's image and tells it what to look at again."""

    def __init__(self, leader: Leader, sessions: Sessions) -> None:
        self._leader = leader
        self._image = leader.image
        self.sessions = sessions
        self.streams: dict[str, AgentStream] = {}
        self.heartbeats: dict[str, float] = {}  # wall clock, for people
        self.plans = wire.Plans()
        self._ticked_at = leader.clock()
        self.joined = 0  # how often an agent came that was not there, or was of no use, before
        self.joined_at = float("-inf")
        self.leaving = Leaving(leader)
        self._sent: deque[tuple[float, list[ReplicaId]]] = deque()  # when it has to be answered, and what was sent
        for name in self._image.agents:
            sessions.expect(name)

    # Coming and going.

    def hello(self, hello: pb.Hello) -> AgentStream | Why:
        """Begin a session: adopt what the agent runs, and send it its full set. Returns why not, if refused."""
        opened = self.sessions.open(hello.agent, hello.boot_id, self._leader.clock(), hello.protocol)
        if isinstance(opened, Refused):
            self._end(hello.agent, opened.ends, opened.why)
            self._leader.journal.add("agent", hello.agent, opened.why.code, opened.why.message)
            return opened.why
        self._end(hello.agent, opened.replaces, Why("session-replaced", "a newer session of this agent exists"))
        stream = AgentStream(hello.agent, opened.session, self._leader.clock, redis_id=self._leader.link.redis_id)
        self.streams[hello.agent] = stream
        self._know(hello)
        self.leaving.returned(hello.agent)
        self._adopt(hello)
        stream.welcome(self._welcome(opened.session, opened.interval_s, opened.lease_s), self._full_set(hello.agent))
        told = f"version {hello.version}, runs {len(hello.running)} loops"
        self._leader.journal.add("agent", hello.agent, "agent-connected", told)
        for problem in hello.catalog_errors:
            self._leader.journal.add("agent", hello.agent, problem.code or "bad-catalog", problem.message)
        self._leader.logs.subscribe()
        self.touch_waiting()
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

    def end_sessions_of_other_redis(self, redis_id: str) -> None:
        """Have agents come anew that were told to expect another Redis namespace: they would start no loop here."""
        for stream in list(self.streams.values()):
            if stream.redis_id not in ("", redis_id):
                stream.end(Why("redis-renewed", "the queues are those of another Redis namespace now"))

    def tick(self) -> None:
        """Judge the agents whose time is over; to be called many times a second."""
        now = self._leader.clock()
        away, self._ticked_at = now - self._ticked_at, now
        if away > _MOST_AWAY_S:
            self.sessions.postpone(away)
            self.leaving.unheard()
        for lost in self.sessions.tick(now):
            self._lose(lost)
        self.leaving.tick(now)
        while self._sent and self._sent[0][0] <= now:
            for id_ in self._sent.popleft()[1]:
                self._send_again(id_)

    def _lose(self, lost: Lost) -> None:
        self._end(lost.agent, lost.session, lost.why)
        agent = self._image.fleet.get(lost.agent)
        if agent is None or agent.liveness is Liveness.LOST:
            return
        count = sum(1 for _ in self._image.held_by(lost.agent))
        self._set_liveness(lost.agent, Liveness.LOST)
        self.leaving.note_lost(agent)
        if agent.stopping and not count:
            self._leader.journal.add("agent", lost.agent, "agent-stopped", "it was stopped, and held nothing any more")
            return
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
            drain_until=known.drain_until if known is not None else 0.0,
        )
        before = self._image.fleet.get(hello.agent)
        if before is None or before.liveness is Liveness.LOST or before.stopping:
            self.note_joined()
        new = {one.uses: one for one in offered if self._image.node_types.get(one.uses) != one}
        self._image.node_types |= new
        self._image.agents[hello.agent] = record
        self._leader.changes.agents[hello.agent] = record
        self._leader.changes.node_types |= new
        self._leader.wake_up()
        agent = as_agent(record)
        agent.code = {one.uses: one.digest for one in offered if one.digest}
        self._image.fleet.put(agent)
        self.touch_held(hello.agent)

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
                self._note_code(workflow, assignment)

    def _note_code(self, workflow: WorkflowImage, assignment: Assignment) -> None:
        """Take in that a loop is about to start with the code that its agent has now, whatever it had before."""
        code = self._image.fleet.code_of(assignment.agent, workflow.plans[assignment.id])
        if code is not None and code != assignment.code:
            new = replace(assignment, code=code)
            self._image.put_assignment(workflow, new)
            self._leader.changes.assignments[assignment.id] = new

    def note_joined(self) -> None:
        """Take note that there is an agent more for loops."""
        self.joined += 1
        self.joined_at = self._leader.clock()

    def handed_over(self, let_go: Iterable[Assignment]) -> None:
        self.leaving.handed_over(let_go)

    def _welcome(self, session: str, interval_s: float, lease_s: float) -> pb.Welcome:
        return pb.Welcome(
            session_id=session,
            heartbeat_interval=duration(interval_s),
            lease=duration(lease_s),
            controller=self._leader.name,
            namespace=self._image.namespace,
            redis_id=self._leader.link.redis_id,
            protocol=protocol.CURRENT,
        )

    def _full_set(self, agent: str) -> Iterator[Change]:
        for workflow, assignment in self._image.held_by(agent):
            if assignment.releasing:
                yield from wire.releases(self._image.namespace, [assignment])
            elif assignment.id not in self._leader.unsent:
                self._expect_answers([assignment.id])
                yield wire.order(self._image, workflow, assignment, self.plans)

    # Reports.

    def beat(self, stream: AgentStream, session: str) -> bool:
        """Count a message as a sign of life; false when it is of a session that is over."""
        if session != stream.session or not self.sessions.beat(stream.agent, session, self._leader.clock()):
            return False
        self.heartbeats[stream.agent] = time.time()
        return True

    def heartbeat(self, stream: AgentStream, beat: pb.Heartbeat) -> None:
        if statuses := beat.statuses:
            self.observe(stream.agent, statuses)
        if beat.HasField("round_trip"):
            self.sessions.measured(stream.agent, wire.seconds(beat.round_trip))
        reachable = beat.redis_reachable
        silence_s = 0.0 if reachable else wire.seconds(beat.redis_silence)
        self.leaving.redis(stream.agent, reachable=reachable, silence_s=silence_s)
        if beat.HasField("answered"):
            self.sessions.answer(stream.agent, beat.sequence, beat.answered, self._leader.clock())
        stream.answer_beat(beat.sequence, self.sessions.new_interval(stream.agent))

    def report(self, stream: AgentStream, report: pb.Report) -> None:
        answers = self.observe(stream.agent, report.statuses)
        if report.sequence > stream.last_report:
            stream.last_report = report.sequence
            for event in speech.own_events(self._image, stream.agent, report.events):
                workflow = event.name.split("/", 1)[0] if event.kind in ("loop", "workflow") else ""
                actor = f"agent {stream.agent}"
                self._leader.journal.add(
                    event.kind, event.name, event.code, event.message, workflow=workflow, actor=actor
                )
        message = pb.SessionResponse()
        message.report_answer.sequence = report.sequence
        message.report_answer.answers.extend(answers)
        stream.send(message)

    def farewell(self, stream: AgentStream, farewell: pb.Farewell) -> None:
        """Drain an agent that is being stopped; what it has not let go by its deadline is placed elsewhere anyway."""
        agent = self._image.fleet.get(stream.agent)
        if agent is None or agent.stopping:
            return
        limit_s = wire.seconds(farewell.deadline) if farewell.HasField("deadline") else _FAREWELL_S
        message = f"it is being stopped, its loops are handed over within {limit_s:g} s"
        self._leader.journal.add("agent", stream.agent, "agent-draining", message)
        self.leaving.drain(stream.agent, limit_s, stopping=True)

    def observe(self, agent: str, statuses: Iterable[loop_pb2.LoopStatus]) -> list[pb.StatusAnswer.ValueType]:
        """Take over statuses, the latest of each replica; returns an answer for each."""
        return [self._observe_one(agent, status) for status in statuses]

    def _observe_one(self, agent: str, status: loop_pb2.LoopStatus) -> pb.StatusAnswer.ValueType:
        named = wire.replica_id(status.loop)
        workflow = self._image.workflows.get(named.workflow)
        assignment = workflow.assignments.get(named) if workflow is not None else None
        if workflow is None or assignment is None or assignment.agent != agent or status.epoch != assignment.epoch:
            return pb.STATUS_ANSWER_IGNORED
        id_ = assignment.id  # the same, and kept by others already
        new, old = wire.observed(status), workflow.observed.get(id_)
        if new is not None and assignment.releasing and not new.sequence:
            new = replace(new, sequence=assignment.sequence)  # the answer to a release: nothing of it is there any more
        if new is None or (old is not None and new.is_older_than(old)):
            return pb.STATUS_ANSWER_IGNORED
        workflow.observed[id_] = new
        tally = workflow.tallies.get(id_)
        if tally is None:
            tally = workflow.tallies[id_] = Tally(assignment.errors if assignment.held else 0)
        tally.take(status)
        if old is None or _differ(old, new):
            self._changed(workflow, id_, old, new)
        else:
            self._leader.watchers.figures_changed(workflow.name)
        return pb.STATUS_ANSWER_ACCEPTED

    def _changed(self, workflow: WorkflowImage, id_: ReplicaId, old: Observed | None, new: Observed) -> None:
        if self._leader.tracer is not None:
            self._leader.tracer.observed(id_, new)
        if (old is None or old.state is not new.state) and new.state not in _UNTOLD:
            word = _WORDS[new.state]
            message = word if new.why is None else f"{word}: {new.why.message}"
            actor = f"agent {workflow.assignments[id_].agent}"
            self._leader.journal.add("loop", str(id_), f"loop-{word}", message, workflow=workflow.name, actor=actor)
        if new.state is State.LOST and new.why is not None and new.why.code == "gap":
            self._leader.lost_writes(str(id_))  # what the others report of their old epochs is ignored from here on
        if new.state in _DECISIVE or workflow.waits:
            self._leader.touch(workflow.name, id_.loop)
        else:
            self._leader.watchers.state_changed(workflow.name)

    # Sending.

    def send_assignments(self, workflow: WorkflowImage, ids: Iterable[ReplicaId]) -> None:
        """Send held assignments to their agents, where those are connected."""
        sent: list[ReplicaId] = []
        for id_ in ids:
            assignment = workflow.assignments.get(id_)
            stream = self.streams.get(assignment.agent) if assignment is not None else None
            if assignment is not None and assignment.held and not assignment.releasing and stream is not None:
                tracer = self._leader.tracer
                traced = "" if tracer is None else tracer.assigned(self._image.namespace, assignment)
                stream.offer(id_, wire.order(self._image, workflow, assignment, self.plans, traced))
                sent.append(id_)
        if sent:
            self._expect_answers(sent)

    def send_release(self, assignment: Assignment) -> None:
        stream = self.streams.get(assignment.agent)
        if stream is not None:
            stream.offer(assignment.id, wire.releases(self._image.namespace, [assignment])[0])
            self._expect_answers([assignment.id])

    def _expect_answers(self, ids: list[ReplicaId]) -> None:
        self._sent.append((self._leader.clock() + _PATIENCE_S, ids))

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
        self._leader.wake_up()
        agent = self._image.fleet.agents[name]
        agent.cordoned = cordoned
        self._image.fleet.changed()
        self.touch_waiting()

    def _set_liveness(self, name: str, liveness: Liveness) -> None:
        agent = self._image.fleet.get(name)
        if agent is None:
            return
        agent.liveness = liveness
        self._image.fleet.changed()
        self.touch_held(name)

    def touch_held(self, agent: str) -> None:
        """Look again at whatever an agent holds."""
        for _, assignment in self._image.held_by(agent):
            self._leader.touch(assignment.id.workflow, assignment.id.loop)

    def touch_waiting(self) -> None:
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


def _differ(old: Observed, new: Observed) -> bool:
    """Whether a loop is not as it was; figures do not count."""
    same = old.epoch == new.epoch and old.sequence == new.sequence and old.state is new.state
    return not same or old.why != new.why


def _with_report(seen: Observed, before: Observed | None) -> Observed:
    return replace(seen, report=before.report) if before is not None else seen
