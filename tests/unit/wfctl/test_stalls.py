"""When a loop counts as standing still after a failure, and what is said of it."""

from __future__ import annotations

from treadle.v1 import loop_pb2
from wfctl.stalls import STILL_S, Stalls, sentence

RUNNING, PAUSED = loop_pb2.DESIRED_STATE_RUNNING, loop_pb2.DESIRED_STATE_PAUSED
FAILING, HEALTHY = loop_pb2.NODE_HEALTH_FAILING, loop_pb2.NODE_HEALTH_HEALTHY


def loop(
    *,
    health: loop_pb2.NodeHealth.ValueType = FAILING,
    doing: str = "waiting-input",
    committed: int = 1,
    dead_letters: int = 1,
    wanted: loop_pb2.DesiredState.ValueType = RUNNING,
) -> loop_pb2.Loop:
    made = loop_pb2.Loop(
        workflow="w", name="move", state=loop_pb2.LOOP_STATE_RUNNING, desired_state=wanted, reads=["numbers"]
    )
    status = made.instances.add(agent="host-1").status
    status.committed, status.errors, status.dead_letters = committed, 1, dead_letters
    status.activity.code = doing
    error = loop_pb2.Reason(code="no-field", message="there is no such field")
    status.nodes.add(node="double", health=health, last_error=error)
    return made


def stands_still(first: loop_pb2.Loop, second: loop_pb2.Loop) -> bool:
    stalls = Stalls()
    assert stalls.look([first], 10.0) is None
    return stalls.look([second], 10.0 + STILL_S) is second


def test_a_loop_that_failed_and_does_nothing_more_stands_still() -> None:
    assert stands_still(loop(), loop())
    assert stands_still(loop(doing="no-work"), loop(doing="no-work"))


def test_it_does_not_before_some_seconds_have_passed() -> None:
    stalls = Stalls()

    assert [stalls.look([loop()], 10.0 + passed) for passed in (0.0, STILL_S / 2, STILL_S * 0.99)] == [None] * 3


def test_a_loop_that_goes_on_or_is_at_work_does_not_stand_still() -> None:
    assert not stands_still(loop(), loop(committed=2))
    assert not stands_still(loop(), loop(doing="retrying"))
    assert not stands_still(loop(), loop(doing="working"))
    assert not stands_still(loop(), loop(health=HEALTHY))
    assert not stands_still(loop(wanted=PAUSED), loop(wanted=PAUSED))


def test_what_was_seen_before_a_success_does_not_count() -> None:
    stalls = Stalls()
    stalls.look([loop()], 10.0)
    stalls.look([loop(health=HEALTHY)], 11.0)

    assert stalls.look([loop()], 10.0 + STILL_S) is None
    assert stalls.look([loop()], 10.0 + 2 * STILL_S) is not None


def test_the_sentence_names_node_error_and_where_to_look() -> None:
    assert sentence(loop()) == (
        "w/move makes no progress: node double fails (no-field: there is no such field), 1 dead letter, and for 5s "
        "nothing more to do; see: wfctl why w/move, wfctl dlq ls numbers"
    )
    assert sentence(loop(dead_letters=0)).endswith("see: wfctl why w/move")
