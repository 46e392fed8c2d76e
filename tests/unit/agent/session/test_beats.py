"""What a heartbeat says of the answers that have arrived."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.v1 import dispatcher_service_pb2 as wire
from treadle_agent.session.machine import Identity, Machine
from treadle_agent.session.outputs import Output, Send


def beats(outputs: Iterable[Output]) -> list[tuple[int, int]]:
    """Return each heartbeat's number, and which one it says was answered last."""
    requests = [output.request for output in outputs if isinstance(output, Send)]
    return [(one.heartbeat.sequence, one.heartbeat.answered) for one in requests if one.HasField("heartbeat")]


def test_a_heartbeat_says_which_one_was_answered_last() -> None:
    machine = Machine(Identity("agent-1", "boot-1", "1.0"), ["c1:7420"], lambda: 0.0)
    machine.tick(0.0)
    welcome = wire.Welcome(session_id="s1", protocol=1)
    welcome.heartbeat_interval.FromSeconds(1)

    first = beats(machine.received(wire.SessionResponse(welcome=welcome), 0.0))
    machine.received(wire.SessionResponse(heartbeat_answer=wire.HeartbeatAnswer(sequence=1)), 0.1)

    assert first == [(1, 0)]
    assert beats(machine.tick(1.0)) == [(2, 1)]
    assert beats(machine.tick(2.0)) == [(3, 1)], "the second was not answered"
