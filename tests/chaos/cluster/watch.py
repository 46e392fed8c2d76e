"""What must hold at every moment, whatever goes wrong; each breach is written down with its time.

I2  of one loop, no two tenures both commit: of each (epoch, incarnation) one run commits, and never after a newer one.
I3  the epochs of a loop's commits never fall; one epoch is never given to two agents.
    What leaves the controller is on disk: it can die at any time, and won't give the same epoch out again.
    A message of a session that is over is not answered, and changes nothing.
    An agent that speaks in its newest session is heard, and takes no change of assignments on a gap.
    No agent is judged while it speaks and hears, in the hold after it was heard last, or in the grace after a start.
    A loop gets a new epoch only when who held it let it go, came back without it, had its
    time to drain, was without Redis for ten seconds by its own word, or was judged lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.chaos.cluster.clockwork import Clockwork
from tests.chaos.cluster.disk import Disk
from tests.chaos.cluster.hosts import Run
from tests.chaos.cluster.network import Stream
from treadle.queues.tenure import LoopKey
from treadle.v1 import dispatcher_service_pb2 as pb
from treadle.v1 import loop_pb2
from treadle_controller.cluster.sessions import SessionSettings
from treadle_controller.leader.leaving import STARVED_S

SETTINGS: Final = SessionSettings()
LEASE_S: Final = SETTINGS.least_interval_s * SETTINGS.lease_intervals
UNHEARD_S: Final = SETTINGS.least_interval_s * SETTINGS.unheard_intervals
_SLACK_S: Final = 0.05  # between what arrives and what is read
_MOST_BREACHES: Final = 20
_LEFT: Final = ("agent-stopping", "redis-unreachable")  # it drained alone, or can't go on where it is
_ENDED: Final = loop_pb2.LOOP_STATE_STOPPED  # and COMPLETED, ERROR, LOST after it


@dataclass(slots=True)
class Start:
    """A run that began."""

    at: float
    agent: str
    key: LoopKey
    epoch: int


class Watch:
    """Sees everything; `breaches` is what must not be."""

    def __init__(self, clockwork: Clockwork, disk: Disk, *, trace: bool) -> None:
        self.breaches: list[str] = []
        self.transcript: list[str] | None = [] if trace else None
        self.starts: list[Start] = []
        self.commits = 0
        self.lost = 0
        self.serving_since = 0.0
        self.contested: dict[str, float] = {}  # until when two processes have had one name
        self._clockwork = clockwork
        self._disk = disk
        self._last: dict[LoopKey, tuple[int, int, str]] = {}
        self._holders: dict[tuple[LoopKey, int], str] = {}
        self._admitted: dict[LoopKey, int] = {}
        self._newest: dict[str, Stream] = {}  # the newest stream that was welcomed, by agent
        self._heard: dict[str, float] = {}
        self._answers: dict[tuple[int, int], float] = {}  # when a stream's heartbeat was answered
        self._hears: dict[str, float] = {}  # when the newest answer was given that an agent says it has heard
        self._late: set[tuple[int, str, int]] = set()
        self._given: dict[LoopKey, int] = {}  # the newest epoch that was sent to an agent
        self._let_go: set[tuple[LoopKey, int]] = set()
        self._without_redis: dict[str, float] = {}  # since when, as agents say themselves

    def breach(self, what: str) -> None:
        if len(self.breaches) < _MOST_BREACHES:
            self.breaches.append(f"{self._clockwork.now:.3f} s: {what}")
            self.say("BREACH", what)

    def say(self, who: str, what: str) -> None:
        if self.transcript is not None:
            self.transcript.append(f"{self._clockwork.now:8.3f}  {who:<14} {what}")

    # In Redis.

    def assigned(self, key: LoopKey, epoch: int) -> None:
        self._admitted[key] = epoch
        if self.transcript is not None:
            self.say("redis", f"{key} is at epoch {epoch} now")
        before = self._given.get(key)
        if before is not None and (key, before) not in self._let_go:
            holder = self._holders[key, before]
            self.breach(f"{key} gets epoch {epoch}, but {holder} has {before}, and neither let it go nor was lost")
        self._be_on_disk(key, epoch, "made current in Redis")

    def incarnated(self, key: LoopKey, epoch: int, inc: int, run: str) -> None:
        if self.transcript is not None:
            self.say(run, f"incarnates {key} at {epoch}.{inc}")

    def committed(self, key: LoopKey, epoch: int, inc: int, run: str) -> None:
        self.commits += 1
        before = self._last.get(key)
        if before is not None and (epoch, inc) < before[:2]:
            self.breach(f"I3: {run} commits {key} at {epoch}.{inc} after {before[2]} did at {before[0]}.{before[1]}")
        elif before is not None and (epoch, inc) == before[:2] and before[2] != run:
            self.breach(f"I2: {run} and {before[2]} both commit {key} at {epoch}.{inc}")
        self._last[key] = (epoch, inc, run)

    def started(self, run: Run) -> None:
        self.starts.append(Start(self._clockwork.now, run.child.machine.name, run.key, run.epoch))
        if self.transcript is not None:
            self.say(run.child.machine.name, f"starts {run.key} at {run.epoch} as {run.name}")

    # On the wire.

    def request(self, stream: Stream, request: pb.SessionRequest) -> None:
        """See a message arrive at the controller."""
        agent = stream.link.agent
        newest = self._newest.get(agent)
        if newest is None or newest.number <= stream.number:
            self._heard[agent] = self._clockwork.now
        else:
            kind = request.WhichOneof("message") or ""
            self._late.add((stream.number, kind, getattr(getattr(request, kind), "sequence", 0)))
        self._note_ends(agent, request)
        if request.HasField("heartbeat"):
            self._note_redis(agent, request.heartbeat)
            answered = self._answers.get((stream.number, request.heartbeat.answered), float("-inf"))
            self._hears[agent] = max(answered, self._hears.get(agent, float("-inf")))
        if self.transcript is not None:
            self.say(agent, f"-> [{stream.number}] {_short(request)}")

    def _note_redis(self, agent: str, beat: pb.Heartbeat) -> None:
        if beat.redis_reachable:
            self._without_redis.pop(agent, None)
        else:
            silence_s = beat.redis_silence.ToTimedelta().total_seconds()
            self._without_redis.setdefault(agent, self._clockwork.now - silence_s)

    def _note_ends(self, agent: str, request: pb.SessionRequest) -> None:
        for one in (*request.hello.running, *request.heartbeat.statuses, *request.report.statuses):
            key = LoopKey(one.loop.workflow, one.loop.loop, one.loop.replica)
            gone = one.state >= _ENDED or one.reason.code in _LEFT
            if gone and self._holders.get((key, one.epoch)) == agent:
                self._let_go.add((key, one.epoch))
        if request.HasField("hello"):
            running = {(one.loop.workflow, one.loop.loop, one.loop.replica, one.epoch) for one in request.hello.running}
            held = [held for held, holder in self._holders.items() if holder == agent]
            self._let_go |= {(key, epoch) for key, epoch in held if (*key, epoch) not in running}

    def answer(self, stream: Stream, response: pb.SessionResponse) -> None:
        """See a message leave the controller."""
        if self.transcript is not None:
            self.say(stream.link.agent, f"<- [{stream.number}] {_short(response)}")
        match response.WhichOneof("message"):
            case "welcome":
                stream.session = response.welcome.session_id
                self._newest[stream.link.agent] = stream
                self._hears[stream.link.agent] = self._clockwork.now
            case "assignments":
                self._sent(stream.link.agent, response.assignments)
            case "report_answer":
                self._refuse_late(stream, "report", response.report_answer.sequence)
            case "heartbeat_answer":
                self._refuse_late(stream, "heartbeat", response.heartbeat_answer.sequence)
                self._answers[stream.number, response.heartbeat_answer.sequence] = self._clockwork.now
            case "goodbye" if response.goodbye.reason.code == "stale-session":
                if self._newest.get(stream.link.agent) is stream:
                    self.breach(f"{stream.link.agent} is refused in its newest session")

    def _refuse_late(self, stream: Stream, kind: str, sequence: int) -> None:
        if (stream.number, kind, sequence) in self._late:
            self.breach(
                f"{kind} {sequence} of {stream.link.agent} is answered, but a newer session was welcomed before"
            )

    def _sent(self, agent: str, assignments: pb.Assignments) -> None:
        for one in assignments.set:
            key = LoopKey(one.loop.workflow, one.loop.loop, one.loop.replica)
            holder = self._holders.setdefault((key, one.epoch), agent)
            self._given[key] = max(one.epoch, self._given.get(key, 0))
            if holder != agent:
                self.breach(f"I3: {key} at epoch {one.epoch} is given to {agent}, and was given to {holder} before")
            if self._admitted.get(key, 0) < one.epoch:
                self.breach(f"{key} at epoch {one.epoch} is sent to {agent}, but Redis does not know that epoch")
            self._be_on_disk(key, one.epoch, f"sent to {agent}")

    def _be_on_disk(self, key: LoopKey, epoch: int, how: str) -> None:
        if epoch > self._disk.epoch:
            self.breach(f"{key} at epoch {epoch} is {how}, but on disk the last epoch is {self._disk.epoch}")

    # In the controller.

    def noted(self, kind: str, name: str, code: str, message: str) -> None:
        """Hear of an event that the controller wrote down."""
        if self.transcript is not None:
            # How long a loop took to start is told by the wall clock, which no seed settles.
            self.say("controller", f"{kind} {name}: {code}{': ' + message if code != 'loop-started' else ''}")
        if code == "agent-lost":
            self._judged(name)
        elif code == "agent-drain-forced":
            self._take_away(name)
        elif code == "agent-starved":
            self._starved(name)

    def _take_away(self, agent: str) -> None:
        self._let_go |= {held for held, holder in self._holders.items() if holder == agent}

    def _starved(self, agent: str) -> None:
        since = self._without_redis.get(agent, self._clockwork.now)
        if self._clockwork.now - since < STARVED_S - _SLACK_S:
            self.breach(f"{agent} is judged to be without Redis for {self._clockwork.now - since:.2f} s only")
        self._take_away(agent)

    def _judged(self, agent: str) -> None:
        now = self._clockwork.now
        self.lost += 1
        self._take_away(agent)
        if now < self.serving_since + SETTINGS.grace_s + LEASE_S - _SLACK_S:
            self.breach(f"{agent} is judged lost {now - self.serving_since:.2f} s after the controller's start")
        if now < self.contested.get(agent, float("-inf")) + SETTINGS.quarantine_s + SETTINGS.turns_window_s:
            return  # both are shut out, and what they held goes elsewhere
        silent = now - self._heard.get(agent, float("-inf"))
        deaf = now - self._hears.get(agent, float("-inf"))
        newest = self._newest.get(agent)
        speaking = newest is not None and not newest.over and newest in newest.link.streams
        trusted = silent < LEASE_S - _SLACK_S and deaf < LEASE_S + UNHEARD_S - _SLACK_S
        if trusted if speaking else silent < SETTINGS.hold_s - _SLACK_S:
            self.breach(f"{agent} is judged lost, but was heard {silent:.2f} s ago, and heard {deaf:.2f} s ago")


def _short(message: pb.SessionRequest | pb.SessionResponse) -> str:
    kind = message.WhichOneof("message") or "nothing"
    inner = getattr(message, kind, None)
    match inner:
        case pb.Assignments():
            chain = "complete" if inner.kind == pb.ASSIGNMENTS_KIND_COMPLETE else f"after {inner.applies_to}"
            given = ", ".join(f"{one.loop.loop}/{one.loop.replica}@{one.epoch}" for one in inner.set)
            gone = ", ".join(f"{one.loop.loop}/{one.loop.replica}@{one.epoch}" for one in inner.releases)
            return f"assignments {inner.results_in} ({chain}): {given or 'none'}; releases {gone or 'none'}"
        case pb.Hello():
            return f"hello {inner.boot_id}, runs {_statuses(inner.running)}"
        case pb.Report() | pb.Heartbeat():
            return f"{kind} {inner.sequence}: {_statuses(inner.statuses)}"
        case pb.Goodbye():
            return f"goodbye: {inner.reason.code}"
        case _:
            return f"{kind} {getattr(inner, 'sequence', '')}"


def _statuses(statuses: object) -> str:
    said = [f"{one.loop.loop}/{one.loop.replica}@{one.epoch} state {one.state}" for one in statuses]  # type: ignore[attr-defined]
    return ", ".join(said) or "nothing"
