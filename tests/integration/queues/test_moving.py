"""Messages move between loops through a real server: order, state, completion, waking."""

from __future__ import annotations

import asyncio
import random
import threading
from functools import partial

import pytest

from tests.queue_world import (
    UNBOUNDED,
    World,
    eventually,
    item,
    loop,
    polled,
    push,
    settle,
    spec,
    take,
    take_all,
    until,
)
from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import encode_item
from treadle.queues.feed import LOOK_AGAIN_TURNS, Feed
from treadle.queues.head_start import QUIET_S
from treadle.queues.latch import Latch
from treadle.queues.reader import Reader
from treadle.queues.redis_host import RedisHost
from treadle.queues.tenure import BadItem, DeadLetter

A, B = loop("a"), loop("b")


def test_messages_arrive_in_order_and_the_queue_ends_with_its_last_writer(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, B)
    host = world.host()
    writer = host.open(spec(A, writes=["q"]))
    reader = host.open(spec(B, reads=["q"]))

    push(writer, "q", range(5000))
    writer.append((), (), completes=True)
    settle(writer)

    assert take_all(reader, "q") == list(range(5000))
    assert (writer.committed, reader.committed) == (5000, 5000)
    stats = world.do(lambda admin: admin.depths(["q"]))["q"]
    assert (stats.depth, stats.bytes, stats.pushed, stats.committed) == (0, 0, 5000, 5000)


def test_a_busy_reader_learns_of_an_end_that_came_before_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.queues.feed.HOT_S", 1e9)  # it never has reason to ask for a ring
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, B)
    host = world.host()
    writer = host.open(spec(A, writes=["q"]))
    push(writer, "q", range(10))
    writer.append((), (), completes=True)
    settle(writer)

    reader = host.open(spec(B, reads=["q"]))

    assert take_all(reader, "q") == list(range(10))


def test_a_queue_does_not_end_while_another_writer_is_open(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A, loop("c")]}))
    world.assign(A, B)
    host = world.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    writer.append((), (), completes=True)
    settle(writer)
    assert reader.poll("q") is None
    assert not reader.ended("q")

    world.do(lambda admin: admin.enter_writers({}, {"q": [loop("c")]}))

    until(reader, lambda: reader.ended("q"))


def test_a_queue_that_never_had_a_writer_does_not_end(world: World) -> None:
    world.assign(B)
    reader = world.host().open(spec(B, reads=["q"]))
    world.do(lambda admin: admin.push("q", [item(1)]))
    assert take(reader, "q", 1) == [1]
    assert not reader.ended("q")


def test_a_writer_that_has_completed_is_not_entered_again_until_it_is_reopened(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, B)
    host = world.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    writer.append((), (), completes=True)
    settle(writer)
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    until(reader, lambda: reader.ended("q"))

    world.do(lambda admin: admin.reopen(A))
    world.do(lambda admin: admin.enter_writers({"q": [A]}))

    assert not host.open(spec(A, writes=["q"])).completed
    assert world.command("SCARD", world.key("q:q:open")) == 1


def test_state_and_iterations_are_there_again_after_a_restart_and_gone_with_a_new_life(world: World) -> None:
    world.assign(A)
    host = world.host()
    first = host.open(spec(A, stateful=["n"]))
    first.append((), (), {("n", "x"): b"1", ("n", "y"): b"2"})
    first.append((), (), {("n", "y"): None}, effects=True)
    first.append((), ())  # nothing happened: not counted
    settle(first)
    host.close(first)

    again = host.open(spec(A, stateful=["n"]))
    assert (again.state, again.iteration, again.life) == ({"n": {"x": b"1"}}, 2, first.life)
    host.close(again)
    world.do(lambda admin: admin.forget(A))
    fresh = host.open(spec(A, stateful=["n"]))

    assert (fresh.state, fresh.iteration) == ({"n": {}}, 0)
    assert fresh.life != first.life


def test_many_loops_and_queues_go_in_few_round_trips(world: World) -> None:
    loops, queues = [loop(f"l{n}") for n in range(1200)], [f"q{n}" for n in range(1200)]

    async def lives(admin: QueueAdmin) -> set[object]:
        return {await admin.command("HGET", world.key(f"l:{key}"), "life") for key in loops}

    async def there(admin: QueueAdmin) -> int:
        return int(await admin.command("EXISTS", *map(admin.keys.record, queues)))

    async def reads(admin: QueueAdmin) -> int:
        """Return how often the server has read from anybody's connection."""
        return int((await admin.command("INFO", "stats"))["total_reads_processed"])

    world.assign(*loops)
    world.do(lambda admin: admin.enter_writers({name: [A] for name in queues}))
    first, begun = world.do(lives), world.do(reads)
    assert (len(first), world.do(there)) == (len(loops), len(queues))

    world.do(lambda admin: admin.forget(*loops))
    world.do(lambda admin: admin.delete(*queues))

    assert world.do(reads) - begun < len(loops) / 2, "the server reads many commands at once"
    assert world.do(there) == 0
    second = world.do(lives)
    assert len(second) == len(loops), "each has begun a life of its own"
    assert not first & second


def test_what_was_not_committed_is_read_again_by_the_next_incarnation(world: World) -> None:
    world.assign(B)
    host = world.host()
    world.do(lambda admin: admin.push("q", [item(n) for n in range(10)]))
    first = host.open(spec(B, reads=["q"]))
    assert take(first, "q", 4) == [0, 1, 2, 3]
    assert take(first, "q", 3, commit=False) == [4, 5, 6]

    second = host.open(spec(B, reads=["q"]))

    assert take(second, "q", 6) == [4, 5, 6, 7, 8, 9]


def test_an_iteration_pops_pushes_and_changes_state_in_one_step(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    middle = host.open(spec(A, reads=["in"], writes=["out"], stateful=["n"]))
    end = host.open(spec(B, reads=["out"]))
    world.do(lambda admin: admin.push("in", [item(n) for n in range(3)]))
    polled(middle, "in")
    middle.append((("in", 1, 2),), (("out", item(7)), ("out", item(8))), {("n", "at"): b"2"})
    settle(middle)

    assert take(end, "out", 2) == [7, 8]
    stats = world.do(lambda admin: admin.depths(["in"]))["in"]
    assert (stats.depth, stats.committed) == (1, 2)


def test_large_messages_are_split_over_entries_and_come_back_whole(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    big = [bytes([n]) * 200_000 for n in range(6)]

    writer.append((), tuple(("q", encode_item({"b": b})) for b in big))
    settle(writer)
    got: list[bytes] = []

    def all_here() -> bool:
        while (batch := reader.poll("q")) is not None:
            got.extend(i[0]["b"] for i in batch.items)
        return len(got) == 6

    until(reader, all_here)
    assert got == big


def test_idle_readers_cost_the_server_nothing_and_wake_at_once(world: World) -> None:
    keys = [loop("idle", n) for n in range(300)]
    world.assign(*keys)
    host = world.host()
    tenures = [host.open(spec(key, reads=[f"q{n}"])) for n, key in enumerate(keys)]

    def registered() -> bool:
        return all(world.command("HGET", world.key(f"q:q{n}:m"), "bells") for n in (0, 150, 299))

    eventually(registered)
    world.do(lambda admin: admin.push("q150", [item(1)]))

    assert take(tenures[150], "q150", 1, patience_s=2.0) == [1]
    before = world.do(_calls)
    after = world.do(_calls)
    assert after - before < 10


async def _calls(admin: object) -> int:
    info = await admin.command("INFO", "stats")  # type: ignore[attr-defined]
    return int(info["total_commands_processed"])


def test_a_doorbell_that_is_gone_is_made_again(world: World) -> None:
    world.assign(B)
    host = world.host()
    reader = host.open(spec(B, reads=["q"]))
    world.command("DEL", world.key(f"h:{host._host.name}"))
    host._loop.call_soon_threadsafe(host._host._feed.keep_bell)

    eventually(lambda: world.command("EXISTS", world.key(f"h:{host._host.name}")) == 1)
    world.do(lambda admin: admin.push("q", [item(1)]))

    assert take(reader, "q", 1) == [1]


def test_foreign_entries_become_dead_letters_and_the_loop_goes_on(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    writer, reader = host.open(spec(A, writes=["q"])), host.open(spec(B, reads=["q"]))
    push(writer, "q", range(3))
    assert take(reader, "q", 3) == [0, 1, 2]
    world.command("XADD", world.key("q:q"), "*", "x", "y")
    world.command("XADD", world.key("q:q"), "*", "pickle", b"\x80\x04N.")

    push(writer, "q", range(3, 6))

    assert take(reader, "q", 3) == [3, 4, 5]
    letters = world.do(lambda admin: admin.dead_letters("q"))
    assert [letter.reason["error"] for letter in letters] == ["foreign-entry", "foreign-entry"]


def test_a_forged_entry_with_the_next_number_makes_way_for_the_real_one(world: World) -> None:
    world.assign(A, B)
    host = world.host()
    writer = host.open(spec(A, writes=["q"]))
    push(writer, "q", range(3))
    world.command("XADD", world.key("q:q"), "4-1", "n", "1", "d", b"\x91\x92\x81\xa1n\x63\xc0")

    push(writer, "q", range(3, 5))

    reader = host.open(spec(B, reads=["q"]))
    assert take(reader, "q", 5) == [0, 1, 2, 3, 4]


def test_an_item_that_cannot_be_decoded_is_a_bad_item_in_its_place(world: World) -> None:
    world.assign(B)
    reader = world.host().open(spec(B, reads=["q"]))
    world.do(lambda admin: admin.push("q", [item(0), b"\xa3abc", item(2)]))
    assert [type(i) is BadItem for i in polled(reader, "q").items] == [False, True, False]


def test_dead_letters_are_kept_with_their_reason_and_replayed_once(world: World) -> None:
    world.assign(B)
    reader = world.host().open(spec(B, reads=["q"]))
    world.do(lambda admin: admin.push("q", [item(0), item(1)]))
    polled(reader, "q")
    reader.append((("q", 1, 1),), (), dead=[DeadLetter("q", 1, item(0), {"error": "E", "iteration": "i1"})])
    reader.append((("q", 2, 2),), ())
    settle(reader)
    (letter,) = world.do(lambda admin: admin.dead_letters("q"))
    assert (letter.number, letter.item, letter.reason["error"], letter.iteration) == (1, item(0), "E", "i1")

    assert world.do(lambda admin: admin.replay("q", "i1")) == 1
    assert world.do(lambda admin: admin.replay("q", "i1")) == 0

    assert take(reader, "q", 1) == [0]
    assert world.do(lambda admin: admin.depths(["q"]))["q"].dead == 0


def test_a_push_from_outside_counts_once_per_producer_and_sequence(world: World) -> None:
    assert world.do(lambda admin: admin.push("q", [item(1), item(2)], "p", 7)) == 1
    assert world.do(lambda admin: admin.push("q", [item(1), item(2)], "p", 7)) is None
    assert world.do(lambda admin: admin.push("q", [item(3)], "p", 8)) == 3
    assert [p.item[0]["n"] for p in world.do(lambda admin: admin.peek("q", 2))] == [1, 2]


def test_tasks_share_a_host_on_their_own_event_loop(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, B)

    async def run() -> list[int]:
        host = RedisHost(world.url, world.namespace, "aio")
        await host.start()
        writer = await host.open(spec(A, writes=["q"]))
        reader = await host.open(spec(B, reads=["q"]))
        got: list[int] = []

        async def write() -> None:
            for n in range(3000):
                while not writer.has_room:
                    await writer.wait_async(5)
                writer.append((), (("q", item(n)),))
                if n % 100 == 0:
                    await asyncio.sleep(0)
            writer.append((), (), completes=True)
            while writer.in_flight:
                await writer.wait_async(5)

        async def read() -> None:
            while not reader.ended("q"):
                batch = reader.poll("q")
                if batch is None:
                    await reader.wait_async(5)
                    continue
                got.extend(i[0]["n"] for i in batch.items)
                reader.append((("q", batch.first, batch.first + len(batch.items) - 1),), ())

        async with asyncio.timeout(20):
            await asyncio.gather(write(), read())
        await host.stop()
        assert writer.lost is not None
        return got

    assert asyncio.run(run()) == list(range(3000))


def test_hot_queues_beyond_the_limit_are_all_served(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.queues.feed.HOT_QUEUES", 4)
    keys = [loop("many", n) for n in range(12)]
    world.assign(A, *keys)
    host = world.host()
    readers = [host.open(spec(key, reads=[f"q{n}"])) for n, key in enumerate(keys)]
    writer = host.open(spec(A, writes=[f"q{n}" for n in range(12)]))
    for round_ in range(5):
        for n in range(12):
            writer.append((), ((f"q{n}", item(round_)),))
        settle(writer)
        for n, reader in enumerate(readers):
            assert take(reader, f"q{n}", 1) == [round_]


def test_limits_of_a_spec_yield_to_those_of_the_controller(world: World) -> None:
    world.assign(A)
    world.do(lambda admin: admin.set_limits({"q": UNBOUNDED}))
    world.host().open(spec(A, writes=["q"]))
    assert world.command("HMGET", world.key("q:q:m"), "lim_n", "full") == [b"", b"block"]


def test_a_full_buffer_that_cooled_down_is_filled_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.queues.reader.HIGH_ENTRIES", 2)
    monkeypatch.setattr("treadle.queues.feed._COUNT", (2, 2))
    world.assign(B)
    host = world.host()
    reader = host.open(spec(B, reads=["q"]))
    feed = host._host._feed
    for n in range(10):
        world.do(partial(QueueAdmin.push, queue="q", items=[item(n)]))
    eventually(lambda: reader.readers["q"].full)

    # It was named in a read that came back late: no longer busy, and registered anew.
    host._do(_register_anew(feed, reader.readers["q"]))

    assert take(reader, "q", 10) == list(range(10))


async def _register_anew(feed: Feed, reader: Reader) -> None:
    reader.parked = False
    feed._register(reader)


def test_any_number_of_foreign_entries_is_put_aside(world: World) -> None:
    world.assign(A, B)
    writer = world.host().open(spec(A, writes=["q"]))

    async def spoil(admin: QueueAdmin) -> None:
        for n in range(350):
            await admin.command("XADD", world.key("q:q"), "*", "n", n)

    world.do(spoil)
    push(writer, "q", range(2))
    assert world.do(lambda admin: admin.depths(["q"]))["q"].dead == 350
    assert take(world.host().open(spec(B, reads=["q"])), "q", 2) == [0, 1]


def test_a_reader_that_lags_stops_and_hurries_misses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every place of the feed is passed through many times: busy, full, cooled down, registered, rung.
    monkeypatch.setattr("treadle.queues.reader.HIGH_ENTRIES", 4)
    monkeypatch.setattr("treadle.queues.feed.HOT_S", 0.01)
    monkeypatch.setattr("treadle.queues.redis_host._TICK_S", 0.01)
    monkeypatch.setattr("treadle.queues.feed._COUNT", (2, 4))
    world.assign(A, B)
    writer = world.host().open(spec(A, writes=["q"]))
    reader = world.host().open(spec(B, reads=["q"]))
    chance = random.Random(7)

    def write() -> None:
        for n in range(0, 1500, 5):
            push(writer, "q", range(n, n + 5))
            if chance.random() < 0.1:
                writer.wait(0.02)

    thread = threading.Thread(target=write)
    thread.start()
    got: list[int] = []
    while len(got) < 1500:
        got += take(reader, "q", min(chance.randint(1, 40), 1500 - len(got)), patience_s=5.0)
        if chance.random() < 0.2:
            reader.wait(0.03)
    thread.join()

    assert got == list(range(1500))


def test_a_ring_that_got_lost_costs_no_more_than_a_while(world: World) -> None:
    world.assign(B)
    host = world.host()
    reader = host.open(spec(B, reads=["q"]))
    eventually(lambda: world.command("HGET", world.key("q:q:m"), "bells") is not None)
    world.command("HDEL", world.key("q:q:m"), "bells")
    world.do(lambda admin: admin.push("q", [item(1)]))
    assert reader.poll("q") is None

    for _ in range(LOOK_AGAIN_TURNS):
        host._loop.call_soon_threadsafe(host._host._feed.look_again)

    assert take(reader, "q", 1, patience_s=5.0) == [1]


class NotingLatch(Latch):
    """Notes how far the reader was at each wake."""

    __slots__ = ("_reader", "seen")

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self.seen: list[int] = []

    def wake(self) -> None:
        self.seen.append(self._reader.at)
        super().wake()


def test_a_loop_that_sleeps_is_woken_before_its_message_is_read(world: World) -> None:
    key, writer = loop("reads"), loop("writes")
    world.assign(key, writer)
    world.do(lambda admin: admin.enter_writers({"q": [writer]}))
    reading = world.host().open(spec(key, reads=["q"]))
    writing = world.host().open(spec(writer, writes=["q"]))
    push(writing, "q", [1])  # from now on its queue is one of those that are listened to
    assert take(reading, "q", 1) == [1]
    latch = reading.latch = NotingLatch(reading.readers["q"])
    for n in range(2, 200):
        writing.wait(2 * QUIET_S)
        push(writing, "q", [n])
        assert take(reading, "q", 1, commit=False) == [n]  # no commit, whose answer would wake it too
        if latch.seen.count(n) > 1:  # once when the message before was handed out, and again before this one was read
            return
    pytest.fail("never woken before")
