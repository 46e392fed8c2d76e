"""Plays a transcript against the session's machine: commands at the margin, what the machine does indented below."""

from __future__ import annotations

from collections.abc import Iterable

from tests.transcripts import Player
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import event_pb2, loop_pb2
from treadle_agent.session.machine import Identity, Machine
from treadle_agent.session.outputs import Close, Deliver, Open, Output, Send


class MachinePlayer(Player):
    """One machine and the time. Randomness is one half, always."""

    def __init__(self) -> None:
        self.now = 0.0
        self.machine = Machine(Identity("agent-1", "boot-1", "1.0"), ["c1:7420", "c2:7420"], lambda: 0.5)

    # Commands.

    def do_at(self, time: str) -> Iterable[str]:
        """Let the time come, and do what is due until then."""
        while (due := self.machine.deadline) is not None and due <= float(time):
            self.now = max(self.now, due)
            outputs = self.machine.tick(self.now)
            yield from self._show(outputs, f"{self.now:.2f} ")
        self.now = float(time)

    def do_broken(self, *words: str) -> Iterable[str]:
        return self._show(self.machine.broken(" ".join(words), self.now))

    def do_stop(self) -> Iterable[str]:
        return self._show(self.machine.stop())

    def do_farewell(self, seconds: str) -> Iterable[str]:
        return self._show(self.machine.farewell(float(seconds)))

    def do_logs(self, text: str) -> Iterable[str]:
        return self._show(self.machine.logs(wire.LogBatch(lines=[event_pb2.LogLine(message=text)])))

    def do_event(self, code: str) -> Iterable[str]:
        self.machine.event(event_pb2.Event(code=code))
        return self._show(self.machine.flush(self.now))

    def do_status(self, loop: str, state: str, how: str = "") -> Iterable[str]:
        """`how` is urgent, last or nothing."""
        value = loop_pb2.LoopState.Value(f"LOOP_STATE_{state}")
        status = loop_pb2.LoopStatus(loop=loop_pb2.LoopRef(loop=loop), state=value)
        self.machine.status(status, urgent=how == "urgent", last=how == "last")
        return self._show(self.machine.flush(self.now))

    def do_welcome(self, session: str, speaks: str = "1") -> Iterable[str]:
        welcome = wire.Welcome(session_id=session, protocol=int(speaks))
        welcome.heartbeat_interval.FromSeconds(1)
        return self._receive(welcome=welcome)

    def do_complete(self, results_in: str, *loops: str) -> Iterable[str]:
        return self._assignments(wire.ASSIGNMENTS_KIND_COMPLETE, 0, int(results_in), loops)

    def do_increment(self, applies_to: str, results_in: str, *loops: str) -> Iterable[str]:
        return self._assignments(wire.ASSIGNMENTS_KIND_INCREMENTAL, int(applies_to), int(results_in), loops)

    def do_understand(self, oldest: str) -> Iterable[str]:
        """Be an agent that no longer understands what is older."""
        identity = self.machine.identity
        self.machine = Machine(identity, ["c1:7420", "c2:7420"], lambda: 0.5, oldest_protocol=int(oldest))
        return ()

    def do_answer(self, sequence: str, assignments: str = "0", interval_s: str = "") -> Iterable[str]:
        answer = wire.HeartbeatAnswer(sequence=int(sequence), assignments=int(assignments))
        if interval_s:
            answer.heartbeat_interval.FromMilliseconds(round(float(interval_s) * 1000))
        return self._receive(heartbeat_answer=answer)

    def do_reported(self, sequence: str) -> Iterable[str]:
        return self._receive(report_answer=wire.ReportAnswer(sequence=int(sequence)))

    def do_goodbye(self, code: str) -> Iterable[str]:
        return self._receive(goodbye=wire.Goodbye(reason=loop_pb2.Reason(code=code, message="no more")))

    def do_subscribe(self, *loops: str) -> Iterable[str]:
        refs = [loop_pb2.LoopRef(loop=loop) for loop in loops]
        return self._receive(log_subscription=wire.LogSubscription(loops=refs))

    def do_unknown(self) -> Iterable[str]:
        return self._receive()

    def _assignments(
        self, kind: wire.AssignmentsKind.ValueType, applies_to: int, results_in: int, loops: Iterable[str]
    ) -> Iterable[str]:
        assigned = [wire.Assignment(loop=loop_pb2.LoopRef(loop=loop)) for loop in loops]
        return self._receive(
            assignments=wire.Assignments(kind=kind, applies_to=applies_to, results_in=results_in, set=assigned)
        )

    def _receive(
        self,
        *,
        welcome: wire.Welcome | None = None,
        assignments: wire.Assignments | None = None,
        heartbeat_answer: wire.HeartbeatAnswer | None = None,
        report_answer: wire.ReportAnswer | None = None,
        goodbye: wire.Goodbye | None = None,
        log_subscription: wire.LogSubscription | None = None,
    ) -> Iterable[str]:
        message = wire.SessionResponse(
            welcome=welcome,
            assignments=assignments,
            heartbeat_answer=heartbeat_answer,
            report_answer=report_answer,
            goodbye=goodbye,
            log_subscription=log_subscription,
        )
        return self._show(self.machine.received(message, self.now))

    # What is shown.

    def _show(self, outputs: Iterable[Output], prefix: str = "") -> list[str]:
        return [prefix + show(output) for output in outputs]


def show(output: Output) -> str:
    match output:
        case Open(address):
            return f"open {address}"
        case Close(reason):
            return f"close: {reason}"
        case Send(request):
            return _sent(request)
        case Deliver(message):
            return f"deliver {_delivered(message)}"


def _sent(request: wire.SessionRequest) -> str:
    session = f" [{request.session_id}]" if request.session_id else ""
    match request.WhichOneof("message"):
        case "hello":
            return f"hello {request.hello.agent} running: {_statuses(request.hello.running)}{session}"
        case "heartbeat":
            return f"heartbeat {request.heartbeat.sequence}: {_statuses(request.heartbeat.statuses)}{session}"
        case "report":
            events = [f"event {event.code}" for event in request.report.events]
            said = [_statuses(request.report.statuses), *events]
            return f"report {request.report.sequence}: {' '.join(said)}{session}"
        case "farewell":
            return f"farewell {request.farewell.deadline.seconds}s{session}"
        case kind:
            return f"{kind}{session}"


def _statuses(statuses: Iterable[loop_pb2.LoopStatus]) -> str:
    names = (f"{s.loop.loop}={loop_pb2.LoopState.Name(s.state).removeprefix('LOOP_STATE_')}" for s in statuses)
    return " ".join(names) or "-"


def _delivered(message: wire.Welcome | wire.Assignments | wire.LogSubscription) -> str:
    match message:
        case wire.Welcome():
            return "welcome"
        case wire.Assignments():
            return f"set {message.results_in}: {' '.join(a.loop.loop for a in message.set) or '-'}"
        case wire.LogSubscription():
            return f"log subscription: {' '.join(ref.loop for ref in message.loops) or 'none'}"
