"""A loop keeps neither its event loop nor an idle processor to itself."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loop.small import By, From, Small, Started
from treadle import BlockingNode, Idle, LoopComplete, Params
from treadle.clock import DrivenClock
from treadle.loop.pace import FIRST_IDLE_S, LONGEST_IDLE_S, Pace, Ticks
from treadle.queues.memory import MemoryHost


def test_a_task_whose_nodes_never_wait_still_lets_others_run() -> None:
    async def both() -> float:
        manager, _ = Small(From(lambda _: {}), (By(lambda *_: None),)).open()
        task = asyncio.create_task(manager.run_async())
        longest = 0.0
        for _ in range(50):
            start = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - start)
        manager.stop()
        await task
        return longest

    assert asyncio.run(both()) < 0.1


def test_def_nodes_of_a_task_do_not_hold_up_its_event_loop() -> None:
    import threading

    begun, free = threading.Event(), threading.Event()

    class Blocks(BlockingNode[Params]):
        def execute(self, data: Any) -> Any:
            begun.set()
            assert free.wait(10)
            return data.replace(thread=threading.current_thread().name)

    async def run() -> list[Any]:
        small = Small(From(iter([{"n": 1}])), (Blocks(Params()),))
        manager, _ = small.open()
        task = asyncio.create_task(manager.run_async())
        await asyncio.to_thread(begun.wait, 10)
        free.set()
        await task
        return small.out()

    (payload,) = asyncio.run(run())
    assert payload["thread"].startswith("treadle worker w/l/0")


def test_an_idle_producer_is_asked_after_a_millisecond_doubling_and_at_once_after_work() -> None:
    clock = DrivenClock()
    outputs = iter([None, None, None, {"n": 1}, None, None])
    calls: list[float] = []

    def produce(_: From) -> Any:
        calls.append(clock.monotonic())
        return next(outputs, LoopComplete())

    small = Small(From(produce), host=MemoryHost("ns", clock=clock), clock=clock)
    started = Started(small.open()[0])
    while started.thread.is_alive():
        clock.advance(0.0001)
    assert started.outcome().kind == "completed"
    waits = [later - earlier for earlier, later in itertools.pairwise(calls)]
    assert [least <= wait for wait, least in zip(waits, [0.001, 0.002, 0.004, 0, 0.001, 0.002], strict=True)] == [
        True
    ] * 6
    assert started.manager.stats().idle_ticks == 5


def test_a_producer_may_say_when_to_ask_again() -> None:
    clock = DrivenClock()
    outputs = iter([Idle(after=3600)])
    small = Small(From(lambda _: next(outputs, LoopComplete())), host=MemoryHost("ns", clock=clock), clock=clock)
    started = Started(small.open()[0])
    while started.manager.stats().idle_ticks == 0:
        pass
    clock.advance(3599)
    assert started.thread.is_alive()
    clock.advance(1)
    assert started.outcome().kind == "completed"


@given(st.lists(st.booleans(), max_size=30))
def test_waits_double_up_to_a_second_and_begin_again_after_work(worked: list[bool]) -> None:
    pace, now, expected = Pace(0), 0.0, FIRST_IDLE_S
    for work in worked:
        if work:
            pace.worked()
            expected = FIRST_IDLE_S
        else:
            pace.idle(now)
            assert pace.next_call == now + expected
            now, expected = pace.next_call, min(2 * expected, LONGEST_IDLE_S)


def test_an_interval_makes_nothing_up_after_an_overrun() -> None:
    pace = Pace(10)
    pace.calling(100)
    assert pace.next_call == 110
    pace.calling(135)
    assert pace.next_call == 145


def test_a_tick_is_due_at_most_once_per_its_time() -> None:
    ticks = Ticks({1: 5.0, 2: 7.0}, now=0)
    assert (ticks.take_due(4.9), ticks.next_due) == (None, 5.0)
    assert (ticks.take_due(20), ticks.take_due(20), ticks.take_due(20)) == (1, 2, None)
    assert ticks.next_due == 25


def test_no_tick_is_ever_due_without_ticking_nodes() -> None:
    assert Ticks({}, now=0).next_due is None
