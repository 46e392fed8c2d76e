"""Iterations run ahead of their commits only as far as they may."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from tests.unit.loop.small import LIMIT_S, From, Small, Started
from treadle.queues.memory import MemoryHost
from treadle.workflow.plan import QueueLimits


class Numbers:
    """Counts calls, and lets a test wait for one."""

    def __init__(self, payload: Any = None) -> None:
        self.payload = payload or {}
        self.calls = 0
        self.called = threading.Condition()

    def __call__(self, _: From) -> Any:
        with self.called:
            self.calls += 1
            self.called.notify_all()
        return {"n": self.calls, **self.payload}

    def until(self, calls: int) -> None:
        with self.called:
            assert self.called.wait_for(lambda: self.calls >= calls, LIMIT_S)


def wait_for_in_flight(started: Started, count: int) -> None:
    turn = threading.Event()
    while started.manager.stats().in_flight < count:
        turn.wait(0.001)


def test_no_more_iterations_than_max_in_flight_wait_for_their_commit() -> None:
    numbers = Numbers()
    small = Small(From(numbers), settings={"max_in_flight": 3})
    small.host.hold()
    started = Started(small.open()[0])
    numbers.until(3)
    wait_for_in_flight(started, 3)
    small.host.release(1)
    numbers.until(4)
    wait_for_in_flight(started, 3)
    assert (numbers.calls, len(small.out())) == (4, 1)
    started.manager.stop()
    assert started.outcome().kind == "stopped"


def test_with_one_in_flight_the_producer_waits_for_each_commit() -> None:
    numbers = Numbers()
    small = Small(From(numbers), settings={"max_in_flight": 1})
    small.host.hold()
    started = Started(small.open()[0])
    for calls in (1, 2, 3):
        numbers.until(calls)
        wait_for_in_flight(started, 1)
        assert numbers.calls == calls
        small.host.release(1)
    started.manager.stop()
    started.outcome()


def test_bytes_in_flight_are_bounded_too_and_one_iteration_alone_may_exceed_them() -> None:
    numbers = Numbers({"filling": "x" * 1000})
    small = Small(From(numbers), settings={"max_in_flight_bytes": 100})
    small.host.hold()
    started = Started(small.open()[0])
    numbers.until(1)
    wait_for_in_flight(started, 1)
    assert numbers.calls == 1
    small.host.release(1)
    numbers.until(2)
    started.manager.stop()
    started.outcome()


def test_drain_waits_until_all_in_flight_has_committed() -> None:
    numbers = Numbers()
    small = Small(From(numbers), settings={"max_in_flight": 5})
    small.host.hold()
    started = Started(small.open()[0])
    wait_for_in_flight(started, 5)
    started.manager.drain()
    for _ in range(5):
        assert started.thread.is_alive()
        small.host.release(1)
    assert started.outcome().kind == "drained"
    assert [each["n"] for each in small.out()] == [1, 2, 3, 4, 5]


def test_drain_does_not_wait_for_a_queue_that_stays_full() -> None:
    numbers = Numbers()
    small = Small(From(numbers), settings={"max_in_flight": 5}, limits=QueueLimits(2, None))
    small.host.hold()
    started = Started(small.open()[0])
    wait_for_in_flight(started, 5)
    small.host.release()
    started.manager.drain()
    assert started.outcome().kind == "stopped"
    assert [each["n"] for each in small.out()] == [1, 2]


def test_a_full_queue_holds_its_producer_back_until_somebody_reads() -> None:
    numbers = Numbers()
    host = MemoryHost("ns")
    writer = Small(From(numbers), host=host, limits=QueueLimits(4, None))
    started = Started(writer.open()[0])
    numbers.until(4)
    turn = threading.Event()
    while len(writer.out()) < 4:
        turn.wait(0.001)
    assert numbers.calls == 4
    _read_all(host)
    numbers.until(5)
    started.manager.stop()
    started.outcome()


def _read_all(host: MemoryHost) -> None:
    from treadle.queues.tenure import LoopKey, TenureSpec

    reader = host.incarnate(TenureSpec(LoopKey("w", "reader"), 1, reads=("out",)))
    batch = reader.poll("out")
    assert batch is not None
    reader.append([("out", batch.first, batch.first + len(batch.items) - 1)], [])


def test_a_loop_that_lost_its_tenure_ends_as_lost() -> None:
    small = Small(From(Numbers()))
    manager, _ = small.open()
    started = Started(manager)
    turn = threading.Event()
    while not small.out():
        turn.wait(0.001)
    small.epoch = 2
    small.open()
    outcome = started.outcome()
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.code) == ("lost", "fenced")


def test_what_a_fenced_loop_had_in_flight_is_forgotten() -> None:
    numbers = Numbers()
    small = Small(From(numbers), settings={"max_in_flight": 3})
    small.host.hold()
    started = Started(small.open()[0])
    wait_for_in_flight(started, 3)
    small.producer = From(iter([{"n": "successor"}]))
    small.epoch = 2
    manager, _ = small.open()
    small.host.release()
    assert started.outcome().kind == "lost"
    assert manager.run().kind == "completed"
    assert small.out() == [{"n": "successor"}]


def test_iterations_without_anything_to_commit_need_no_tenure() -> None:
    small = Small(From(iter([{"n": 1}, {"n": 2}])), nodes=())
    plan = small.plan()
    assert plan.writes == ("out",)
    numbers = itertools.count()
    quiet = Small(From(lambda _: None if next(numbers) < 3 else (_ for _ in ()).throw(ValueError("enough"))))
    outcome = quiet.run()
    assert outcome.error is not None
    assert outcome.error.message == "enough"
