"""The session with the controller, as a state machine: messages and the time in, outputs out. No I/O, no clock.

    WAITING  --the delay is over-->  GREETING  --Welcome-->  LIVE
       ^                                |                      |
       +------ anything unexpected, overdue or broken ---------+

One session is one stream on one channel. Hello tells everything that runs here; the controller answers Welcome,
then Assignments(COMPLETE), then increments, each naming the one before. Any error ends the whole session, and the
next one begins after a random delay: nothing is repaired in place, since Hello and COMPLETE say it all again.

Heartbeats go both ways at the controller's interval. An answer that is overdue means that the session is dead,
whatever TCP says. Reports (urgent changes, events) are repeated until they are answered; a repeated report carries
the newest status of its loops, so that it can't undo a later one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from google.protobuf import duration_pb2

from treadle import protocol
from treadle.v1 import agent_pb2, event_pb2, loop_pb2, node_type_pb2
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle_agent.session.outputs import Close, Deliver, Open, Output, Send

FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 8.0
GREETING_TIMEOUT_S: Final = 5.0  # from the attempt to connect until Welcome
OVERDUE_INTERVALS: Final = 2.0  # a heartbeat's answer may take this long ...
MIN_OVERDUE_S: Final = 2.0  # ... and at least this
SLOW_S: Final = 0.1  # a round trip from which on a link counts as slow, and answers get more time:
SLOW_OVERDUE_INTERVALS: Final = 5.0
ROUND_TRIPS: Final = 8  # the shortest of so many is the link's: a busy moment makes no link slow
MAX_EVENTS: Final = 1_000  # kept while nobody listens; the oldest are dropped
MAX_STATUSES: Final = 1_000  # in one message
DEFAULT_INTERVAL_S: Final = 1.0


@dataclass(slots=True)
class Identity:
    """What Hello says of this agent."""

    agent: str
    boot_id: str
    version: str
    labels: dict[str, str] = field(default_factory=dict)
    slots: agent_pb2.Slots = field(default_factory=agent_pb2.Slots)
    node_types: list[node_type_pb2.NodeType] = field(default_factory=list)
    catalog_errors: list[loop_pb2.Reason] = field(default_factory=list)


class Phase(Enum):
    """Where the session is."""

    WAITING = auto()
    GREETING = auto()
    LIVE = auto()
    OVER = auto()


Name = tuple[str, str, str, int]


def name_of(ref: loop_pb2.LoopRef) -> Name:
    return ref.namespace, ref.workflow, ref.loop, ref.replica


@dataclass(slots=True)
class _Sent:
    """A report that is not answered yet."""

    loops: list[Name]
    events: list[event_pb2.Event]
    at: float


class Machine:
    """See the module. Every input returns the outputs to carry out, in order; `deadline` is when to call `tick`."""

    def __init__(
        self,
        identity: Identity,
        addresses: Sequence[str],
        random: Callable[[], float],
        *,
        oldest_protocol: int = protocol.OLDEST,
    ) -> None:
        self.identity = identity
        self.phase = Phase.WAITING
        self.redis_reachable = True
        self.redis_silence_s = 0.0  # how long Redis has not answered, when it does not
        self.session_id = ""
        self.interval_s = DEFAULT_INTERVAL_S
        self.contact_at: float | None = None  # start of the last heartbeat that was answered
        self.reason = "not connected yet"  # why there is no session
        self._addresses = list(addresses)
        self._random = random
        self._oldest_protocol = oldest_protocol
        self._attempts = 0
        self._turn = 0
        self._wait_until = 0.0
        self._greeting_until = 0.0
        self._reference: int | None = None
        self._latest: dict[Name, loop_pb2.LoopStatus] = {}
        self._last_words: set[Name] = set()  # loops that are gone once their status is answered
        self._changed: dict[Name, None] = {}
        self._urgent: dict[Name, None] = {}
        self._events: deque[event_pb2.Event] = deque(maxlen=MAX_EVENTS)
        self._reports: dict[int, _Sent] = {}
        self._report_sequence = 0
        self._beat_sequence = 0
        self._beat_at = 0.0
        self._beats: dict[int, float] = {}  # unanswered: sequence -> when it was sent
        self._beat_answer = 0  # the last one that was answered
        self._farewell_s: float | None = None
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS)

    @property
    def live(self) -> bool:
        return self.phase is Phase.LIVE

    @property
    def reported(self) -> bool:
        """Whether the controller has answered everything that it was told."""
        return not (self._reports or self._urgent or self._events)

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        match self.phase:
            case Phase.WAITING:
                return self._wait_until
            case Phase.GREETING:
                return self._greeting_until
            case Phase.LIVE:
                return min([self._beat_at, *self._due_answers(), *self._due_repeats()])
            case Phase.OVER:
                return None

    # What happens on the wire.

    def tick(self, now: float) -> list[Output]:
        """Do what is due: connect, send a heartbeat, repeat reports, give up on a silent controller."""
        match self.phase:
            case Phase.WAITING if now >= self._wait_until:
                return self._connect(now)
            case Phase.GREETING if now >= self._greeting_until:
                return self._give_up("the controller does not welcome us", now)
            case Phase.LIVE:
                if any(now >= due for due in self._due_answers()):
                    return self._give_up("an answer to a heartbeat is overdue", now)
                return [*self._repeat_reports(now), *self._beat(now)]
            case _:
                return []

    def received(self, message: wire.SessionResponse, now: float) -> list[Output]:
        """Take in what the controller said."""
        kind = message.WhichOneof("message")
        if self.phase is Phase.GREETING and kind == "welcome":
            return self._welcome(message.welcome, now)
        if kind == "goodbye":
            return self._give_up(f"{message.goodbye.reason.code}: {message.goodbye.reason.message}", now)
        if self.phase is not Phase.LIVE:
            return self._give_up(f"{kind} before Welcome", now) if self.phase is Phase.GREETING else []
        match kind:
            case "assignments":
                return self._assignments(message.assignments, now)
            case "heartbeat_answer":
                return self._beat_answered(message.heartbeat_answer, now)
            case "report_answer":
                self._report_answered(message.report_answer)
            case "log_subscription":
                return [Deliver(message.log_subscription)]
            case None:
                return []  # a newer controller says something that this agent does not know
            case _:
                return self._give_up(f"a second {kind}", now)
        return []

    def broken(self, reason: str, now: float) -> list[Output]:
        """Take in that the stream ended."""
        return [] if self.phase in {Phase.WAITING, Phase.OVER} else self._give_up(reason, now)

    def stop(self) -> list[Output]:
        """End for good."""
        was, self.phase = self.phase, Phase.OVER
        return [Close("the agent stops")] if was in {Phase.GREETING, Phase.LIVE} else []

    # What happens here.

    def status(self, status: loop_pb2.LoopStatus, *, urgent: bool, last: bool = False) -> None:
        """Remember a loop's newest status; `flush` sends urgent ones, the next heartbeat the others.

        `last`: the loop is gone from here, forget it as soon as the controller knows.
        """
        name = name_of(status.loop)
        self._latest[name] = status
        self._last_words.discard(name)
        if last:
            self._last_words.add(name)
        (self._urgent if urgent or last else self._changed)[name] = None

    def event(self, event: event_pb2.Event) -> None:
        """Remember an event for the next report."""
        self._events.append(event)

    def flush(self, now: float) -> list[Output]:
        """Report urgent statuses and events now, if there is a session."""
        outputs: list[Output] = []
        while self.live and (self._urgent or self._events):
            names = list(self._urgent)[:MAX_STATUSES]
            for name in names:
                del self._urgent[name]
                self._changed.pop(name, None)
            events = [self._events.popleft() for _ in range(min(len(self._events), MAX_STATUSES))]
            self._report_sequence += 1
            self._reports[self._report_sequence] = _Sent(names, events, now)
            outputs.append(self._report(self._report_sequence))
        return outputs

    def logs(self, batch: wire.LogBatch) -> list[Output]:
        """Send log lines; without a session they are only in the agent's own log."""
        return [self._request(logs=batch)] if self.live else []

    def farewell(self, deadline_s: float) -> list[Output]:
        """Ask to be drained, now and in each further session."""
        self._farewell_s = deadline_s
        return self._farewells()

    # Steps.

    def _connect(self, now: float) -> list[Output]:
        self.phase = Phase.GREETING
        self._greeting_until = now + GREETING_TIMEOUT_S
        # Everything is told again: Hello is the state of all loops, reports carry what must be answered.
        self._changed.clear()
        address = self._addresses[self._turn % len(self._addresses)]
        return [Open(address), Send(wire.SessionRequest(hello=self._hello()))]

    def _hello(self) -> wire.Hello:
        who = self.identity
        return wire.Hello(
            agent=who.agent,
            boot_id=who.boot_id,
            version=who.version,
            labels=who.labels,
            slots=who.slots,
            node_types=who.node_types,
            running=list(self._latest.values()),
            catalog_errors=who.catalog_errors,
            protocol=protocol.CURRENT,
        )

    def _welcome(self, welcome: wire.Welcome, now: float) -> list[Output]:
        too_old = protocol.refusal(welcome.protocol, "the controller", oldest=self._oldest_protocol)
        if too_old:
            return self._give_up(too_old, now)
        self.phase = Phase.LIVE
        self.reason = ""
        self.session_id = welcome.session_id
        self.interval_s = _seconds(welcome.heartbeat_interval) or DEFAULT_INTERVAL_S
        self.contact_at = now
        self._beat_at = now
        for name in self._last_words:
            self._urgent[name] = None
        return [Deliver(welcome), *self._farewells(), *self.flush(now), *self._beat(now)]

    def _assignments(self, message: wire.Assignments, now: float) -> list[Output]:
        if message.kind == wire.ASSIGNMENTS_KIND_INCREMENTAL and message.applies_to != self._reference:
            return self._give_up(f"changes to set {message.applies_to}, but we have {self._reference}", now)
        self._reference = message.results_in
        return [Deliver(message)]

    def _give_up(self, reason: str, now: float) -> list[Output]:
        self.phase = Phase.WAITING
        self.reason = reason
        self.session_id = ""
        self._reference = None
        self._beats.clear()
        for sent in reversed(self._reports.values()):
            self._urgent.update(dict.fromkeys(name for name in sent.loops if name in self._latest))
            self._events.extendleft(reversed(sent.events))
        self._reports.clear()
        backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        self._turn += 1
        self._wait_until = now + backoff * self._random()
        return [Close(reason), Deliver(wire.LogSubscription())]

    def _beat(self, now: float) -> list[Output]:
        if now < self._beat_at:
            return []
        self._beat_sequence += 1
        self._beats[self._beat_sequence] = now
        # A little early at random, so that agents that came back together drift apart.
        self._beat_at = now + self.interval_s * (1.0 - 0.1 * self._random())
        names = [name for name in list(self._changed)[:MAX_STATUSES] if name in self._latest]
        for name in names:
            del self._changed[name]
        beat = wire.Heartbeat(
            sequence=self._beat_sequence,
            statuses=[self._latest[name] for name in names],
            redis_reachable=self.redis_reachable,
            answered=self._beat_answer,
        )
        if self._round_trips:
            beat.round_trip.FromMicroseconds(round(self._round_trips[-1] * 1e6))
        if not self.redis_reachable:
            beat.redis_silence.FromMilliseconds(round(self.redis_silence_s * 1e3))
        return [self._request(heartbeat=beat)]

    def _beat_answered(self, answer: wire.HeartbeatAnswer, now: float) -> list[Output]:
        # Answers come after the sets that were sent before them; an older controller tells none.
        if answer.assignments and answer.assignments != (self._reference or 0):
            return self._give_up(f"the set is {answer.assignments}, but we have {self._reference}", now)
        sequence = answer.sequence
        sent = self._beats.get(sequence)
        if sent is None:
            return []
        self._round_trips.append(max(0.0, now - sent))
        self.contact_at = sent
        self._beat_answer = sequence
        self._attempts = 0  # this controller answers: the next failure is a first one
        self._beats = {number: at for number, at in self._beats.items() if number > sequence}
        if answer.HasField("heartbeat_interval"):
            self.interval_s = _seconds(answer.heartbeat_interval) or DEFAULT_INTERVAL_S
            self._beat_at = min(self._beat_at, now + self.interval_s)
        return []

    def _report_answered(self, answer: wire.ReportAnswer) -> None:
        sent = self._reports.pop(answer.sequence, None)
        for name in sent.loops if sent is not None else ():
            if name in self._last_words and name not in self._urgent:
                self._last_words.discard(name)
                self._latest.pop(name, None)
                self._changed.pop(name, None)

    def _repeat_reports(self, now: float) -> list[Output]:
        outputs: list[Output] = []
        for sequence, sent in self._reports.items():
            if now >= sent.at + self._patience_s:
                sent.at = now
                outputs.append(self._report(sequence))
        return outputs

    def _report(self, sequence: int) -> Send:
        sent = self._reports[sequence]
        statuses = [self._latest[name] for name in sent.loops if name in self._latest]
        return self._request(report=wire.Report(sequence=sequence, statuses=statuses, events=sent.events))

    def _farewells(self) -> list[Output]:
        if self._farewell_s is None or not self.live:
            return []
        farewell = wire.Farewell()
        farewell.deadline.FromMilliseconds(round(self._farewell_s * 1000))
        return [self._request(farewell=farewell)]

    def _request(
        self,
        *,
        heartbeat: wire.Heartbeat | None = None,
        report: wire.Report | None = None,
        farewell: wire.Farewell | None = None,
        logs: wire.LogBatch | None = None,
    ) -> Send:
        return Send(
            wire.SessionRequest(
                session_id=self.session_id, heartbeat=heartbeat, report=report, farewell=farewell, logs=logs
            )
        )

    @property
    def _patience_s(self) -> float:
        slow = bool(self._round_trips) and min(self._round_trips) > SLOW_S
        return max(MIN_OVERDUE_S, (SLOW_OVERDUE_INTERVALS if slow else OVERDUE_INTERVALS) * self.interval_s)

    def _due_answers(self) -> list[float]:
        first = next(iter(self._beats.values()), None)
        return [] if first is None else [first + self._patience_s]

    def _due_repeats(self) -> list[float]:
        return [sent.at + self._patience_s for sent in self._reports.values()]


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.ToTimedelta().total_seconds()
