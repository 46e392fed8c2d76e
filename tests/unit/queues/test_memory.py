"""The queues in memory: fencing, claims, room, ends, and waking."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from treadle.clock import DrivenClock
from treadle.errors import TenureLost
from treadle.queues.bell import Bell
from treadle.queues.codec import decode_item, encode_item
from treadle.queues.memory import MemoryHost
from treadle.queues.memory_tenure import MemoryTenure
from treadle.queues.tenure import LoopKey, TenureSpec
from treadle.workflow.plan import QueueLimits

FREE = QueueLimits(None, None)


def items(*numbers: int) -> list[bytes]:
    return [encode_item({"n": n}) for n in numbers]


def reader(host: MemoryHost, name: str = "reader", *, epoch: int = 1, **more: Any) -> MemoryTenure:
    return host.incarnate(TenureSpec(LoopKey("w", name), epoch, reads=("q",), **more))


def writer(host: MemoryHost, name: str = "writer", *, epoch: int = 1, limits: QueueLimits = FREE) -> MemoryTenure:
    return host.incarnate(TenureSpec(LoopKey("w", name), epoch, writes={"q": limits}))


def numbers(tenure: MemoryTenure) -> list[int]:
    batch = tenure.poll("q")
    return [] if batch is None else [item[0]["n"] for item in batch.items]


def test_numbers_are_dense_and_begin_with_one() -> None:
    host = MemoryHost("ns")
    host.push("q", items(7, 8))
    batch = reader(host).poll("q")
    assert batch is not None
    assert (batch.queue, batch.first, [item[0] for item in batch.items]) == ("q", 1, [{"n": 7}, {"n": 8}])


def test_what_a_tenure_claimed_and_did_not_commit_goes_to_its_successor_in_order() -> None:
    host = MemoryHost("ns")
    host.push("q", items(1, 2, 3))
    first = reader(host)
    assert numbers(first) == [1, 2, 3]
    first.append([("q", 1, 1)], [])
    second = reader(host, epoch=2)
    assert first.lost is not None
    assert numbers(second) == [2, 3]


def test_a_fenced_tenure_commits_and_reads_nothing() -> None:
    host = MemoryHost("ns")
    old = writer(host)
    writer(host)
    old.append([], [("q", items(1)[0])])
    assert (host.peek("q"), old.has_room, old.poll("q")) == ([], False, None)


def test_an_epoch_below_the_stored_one_is_refused() -> None:
    host = MemoryHost("ns")
    writer(host, epoch=5)
    with pytest.raises(TenureLost, match="epoch 5, above 4"):
        writer(host, epoch=4)


def test_the_same_epoch_again_is_another_incarnation_of_the_same_life() -> None:
    host = MemoryHost("ns")
    first, second = writer(host), writer(host)
    assert (first.inc, second.inc, first.life == second.life) == (0, 1, True)
    host.drop_loop(LoopKey("w", "writer"))
    assert writer(host).life != first.life
    assert second.lost is not None


def test_competing_readers_get_each_message_once() -> None:
    host = MemoryHost("ns")
    host.push("q", items(*range(1500)))
    one, two = reader(host, "one"), reader(host, "two")
    assert sorted(numbers(one) + numbers(two)) == list(range(1500))


def test_a_batch_that_was_given_back_is_polled_again_first() -> None:
    host = MemoryHost("ns")
    host.push("q", items(1, 2))
    tenure = reader(host)
    batch = tenure.poll("q")
    assert batch is not None
    host.push("q", items(3))
    tenure.give_back(batch._replace(first=2, items=batch.items[1:]))
    assert [numbers(tenure), numbers(tenure)] == [[2], [3]]


def test_a_queue_ends_when_its_writers_have_completed_and_all_is_read() -> None:
    host = MemoryHost("ns")
    source, sink = writer(host), reader(host)
    assert not sink.ended("q")
    source.append([], [("q", items(1)[0])])
    source.append([], [], completes=True)
    assert not sink.ended("q")
    assert numbers(sink) == [1]
    assert not sink.ended("q")
    sink.append([("q", 1, 1)], [])
    assert sink.ended("q")
    assert not reader(host, never_ends=("q",)).ended("q")


def test_a_queue_that_never_had_a_writer_does_not_end() -> None:
    assert not reader(MemoryHost("ns")).ended("q")


def test_an_empty_iteration_is_not_counted_and_an_effect_is() -> None:
    host = MemoryHost("ns")
    tenure = writer(host)
    tenure.append([], [])
    tenure.append([], [], effects=True)
    assert (tenure.committed, writer(host).iteration) == (1, 1)


def test_state_is_part_of_the_commit() -> None:
    host = MemoryHost("ns")
    spec = TenureSpec(LoopKey("w", "l"), 1, stateful=("n",))
    host.incarnate(spec).append([], [], {("n", "a"): b"1", ("n", "b"): b"2"})
    host.incarnate(spec).append([], [], {("n", "a"): None})
    assert host.incarnate(spec).state == {"n": {"b": b"2"}}


def test_commits_wait_for_room_in_a_bounded_queue_and_go_on_when_it_is_read() -> None:
    host = MemoryHost("ns")
    source, sink = writer(host, limits=QueueLimits(2, None)), reader(host)
    for n in (1, 2, 3, 4):
        source.append([], [("q", items(n)[0])])
    assert (source.in_flight, source.has_room, host.figures("q").depth) == (2, False, 2)
    assert numbers(sink) == [1, 2]
    sink.append([("q", 1, 2)], [])
    assert (source.in_flight, numbers(sink)) == (0, [3, 4])


def test_a_queue_is_bounded_in_bytes_too() -> None:
    host = MemoryHost("ns")
    source = writer(host, limits=QueueLimits(None, 5))
    source.append([], [("q", items(1)[0])])
    assert (source.has_room, host.figures("q").bytes) == (False, len(items(1)[0]))


def test_drop_oldest_drops_what_is_not_claimed() -> None:
    host = MemoryHost("ns")
    source = writer(host, limits=QueueLimits(2, None, "drop-oldest"))
    for n in range(5):
        source.append([], [("q", items(n)[0])])
    assert [decode_item(item)[0] for item in host.peek("q")] == [{"n": 3}, {"n": 4}]
    assert (source.in_flight, host.figures("q").pushed) == (0, 5)


def test_a_wait_ends_when_a_message_comes_and_a_wake_before_it_is_not_lost() -> None:
    host = MemoryHost("ns")
    source, sink = writer(host), reader(host)
    threading.Timer(0.01, lambda: source.append([], [("q", items(1)[0])])).start()
    sink.wait(10)
    assert numbers(sink) == [1]
    sink.wake()
    start = time.monotonic()
    sink.wait(10)
    sink.wait(0.01)
    assert 0.005 < time.monotonic() - start < 5


def test_a_wait_on_a_driven_clock_ends_when_the_clock_moves() -> None:
    clock = DrivenClock()
    tenure = reader(MemoryHost("ns", clock=clock))
    thread = threading.Thread(target=tenure.wait, args=(3600,))
    thread.start()
    clock.advance(1)
    thread.join(10)
    assert (clock.monotonic(), clock.time() - DrivenClock().time()) == (1, 1)
    assert not thread.is_alive()


def test_stopping_the_host_loses_every_tenure() -> None:
    host = MemoryHost("ns")
    tenures = [reader(host, "a"), reader(host, "b")]
    asyncio.run(host.stop())
    assert [tenure.lost.reason for tenure in tenures if tenure.lost] == ["stopped", "stopped"]


def test_open_and_close_are_those_of_every_queue_host() -> None:
    async def use() -> None:
        host = MemoryHost("ns")
        tenure = await host.open(TenureSpec(LoopKey("w", "l"), 1, reads=("q",)))
        await host.close(tenure)
        assert tenure.lost is not None

    asyncio.run(use())


def test_a_bell_wakes_tasks_of_several_event_loops_from_any_thread() -> None:
    async def until_rung(bell: Bell, waiting: threading.Event) -> None:
        asyncio.get_running_loop().call_soon(waiting.set)
        await bell.wait_async(10)

    bells = [(Bell(), threading.Event()) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda b=bell, w=waiting: asyncio.run(until_rung(b, w))) for bell, waiting in bells
    ]
    for thread in threads:
        thread.start()
    for bell, waiting in bells:
        assert waiting.wait(10)
        bell.ring()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_a_bell_rung_before_ends_the_next_wait_of_a_task() -> None:
    async def use() -> float:
        bell = Bell()
        bell.ring()
        start = time.monotonic()
        await bell.wait_async(10)
        await bell.wait_async(0.01)
        return time.monotonic() - start

    assert 0.005 < asyncio.run(use()) < 5
