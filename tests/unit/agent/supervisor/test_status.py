from __future__ import annotations

from treadle.queues.tenure import LoopKey
from treadle.v1 import dispatcher_service_pb2 as wire
from treadle.v1 import loop_pb2
from treadle_agent.frames import Address, Ended, Figures, NodeFigures, QueueUse, Why
from treadle_agent.supervisor.assignments import read_assignment
from treadle_agent.supervisor.reconcile import assign, begin, end
from treadle_agent.supervisor.record import Desired, Record, Run
from treadle_agent.supervisor.status import mark, rate, status_of

ADDRESS = Address("ns", LoopKey("w", "l", 2))
MESSAGE = wire.Assignment(
    loop=loop_pb2.LoopRef(namespace="ns", workflow="w", loop="l", replica=2),
    epoch=7,
    sequence=3,
    revision=5,
    desired_state=loop_pb2.DESIRED_STATE_PAUSED,
    plan_json=b'{"workflow": "w", "loop": "l", "steps": [], "digest": "d", "pool": "asyncio"}',
    queues=[wire.AssignedQueue(name="q", limit_messages=10), wire.AssignedQueue(name="r", never_ends=True)],
    restart_generation=4,
)


def test_an_assignment_is_read_as_it_was_meant() -> None:
    wanted = read_assignment(MESSAGE)

    assert (wanted.address, wanted.epoch, wanted.sequence, wanted.generation) == (ADDRESS, 7, 3, 4)
    assert wanted.desired is Desired.PAUSED
    assert wanted.plan.pool == "asyncio"
    assert wanted.queues == (QueueUse("q", 10, None), QueueUse("r", None, None, never_ends=True))


def test_a_status_says_everything_that_is_known_of_a_loop() -> None:
    record = Record(ADDRESS)
    assign(record, read_assignment(MESSAGE))
    begin(record, Run(1, epoch=7, generation=4, began=1_700_000_000.25, paused=True))
    record.incarnation, record.process_id, record.restarts, record.past.errors = 2, 99, 3, 10
    node = NodeFigures("n", "a.b", "failing", 5, 1, [0, 5], Why("exception", "no", "n", "story"))
    mark(record, 100.0, Figures(1, True, 50, 1, 8, 4, [1, 2], [node]))
    mark(record, 102.0, Figures(1, True, 90, 1, 8, 4, [1, 2], [node]))

    status = status_of(record)

    assert status.state == loop_pb2.LOOP_STATE_PAUSED
    assert (status.loop.replica, status.epoch, status.incarnation, status.sequence) == (2, 7, 2, 3)
    assert (status.committed, status.errors, status.restarts, status.idle_ticks, status.in_flight) == (90, 11, 3, 8, 4)
    assert (status.iterations_per_second, status.process_id) == (20.0, 99)
    assert status.start_time.ToMilliseconds() == 1_700_000_000_250
    (told,) = status.nodes
    assert (told.node, told.uses, told.executions, told.failures) == ("n", "a.b", 5, 1)
    assert told.health == loop_pb2.NODE_HEALTH_FAILING
    assert told.last_error.traceback == "story"


def test_what_ended_incarnations_counted_is_told_beside_what_the_present_one_does() -> None:
    record = Record(ADDRESS)
    assign(record, read_assignment(MESSAGE))
    node = NodeFigures("n", "a.b", "healthy", 5, 1, [0, 4], None)
    figures = Figures(1, False, 50, 1, 8, 0, [0, 4], [node], retries=2, blocked={"q": 1.5}, untouched=3)
    for number in (1, 2):
        begin(record, Run(number, epoch=7, generation=4))
        mark(record, 100.0, figures)
        assert status_of(record).committed == 50 + (3 if number == 2 else 0)
        end(record, Ended(number, "stopped"), now=0.0, jitter=0.0)

    status = status_of(record)

    assert (status.errors, status.retries, status.past.idle_ticks) == (2, 4, 16)
    assert [(each.node, each.executions, each.failures) for each in status.past.nodes] == [("n", 10, 2)]
    assert list(status.past.nodes[0].duration_log2_ns) == [0, 8]
    assert [(each.queue, each.seconds) for each in status.past.blocked] == [("q", 3.0)]
    assert status.committed == 47 + 6, "those that left nothing to commit are added once"
    assert not status.nodes
    assert status.since_time.ToMicroseconds() == round(record.since * 1e6)


def test_a_rate_is_of_the_last_seconds_only() -> None:
    record = Record(ADDRESS)
    for second in range(100):
        mark(record, float(second), Figures(1, False, second * (1 if second < 90 else 10), 0, 0, 0, [], []))

    assert rate(record.marks) == 10.0
    assert rate([]) == rate([(1.0, 5)]) == rate([(1.0, 5), (1.0, 9)]) == 0.0
