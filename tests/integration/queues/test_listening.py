"""The only loop of a host listens itself while its messages come one by one, and everything else finds it there."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from tests.queue_world import World, eventually, item, loop, push, spec, take, until
from treadle.queues.feed import Feed
from treadle.queues.head_start import QUIET_S
from treadle.queues.redis_tenure import RedisTenure
from treadle.queues.redis_thread import ThreadedRedisHost
from treadle.queues.watch import Watch

A, B, C = loop("a"), loop("b"), loop("c")


class Pair:
    """A writer, and the only loop of another host, which reads what it writes."""

    def __init__(self, world: World) -> None:
        world.assign(A, B, C)
        world.do(lambda admin: admin.enter_writers({"q": [A]}))
        self.host: ThreadedRedisHost = world.host()
        self.reading: RedisTenure = self.host.open(spec(B, reads=["q"]))
        self.writing: RedisTenure = world.host().open(spec(A, writes=["q"]))
        self.n = 0

    def one(self) -> None:
        """Move a message, a while after the last."""
        self.n += 1
        self.writing.wait(2 * QUIET_S)
        push(self.writing, "q", [self.n])
        assert take(self.reading, "q", 1) == [self.n]

    def lend(self) -> None:
        """Move messages until the reading loop listens itself."""
        for _ in range(1000):
            self.one()
            if self.reading.ear is not None:
                return
        pytest.fail("it never listens itself")

    def hear(self) -> None:
        """Move messages until the loop has heard one by itself."""
        for _ in range(1000):
            self.lend()
            ear = self.reading.ear
            self.one()
            if ear is not None and ear.answers:
                return
        pytest.fail("it never hears anything itself")


@pytest.fixture
def pair(world: World) -> Pair:
    """Return a pair."""
    return Pair(world)


def returned(pair: Pair) -> None:
    """Wait until the host listens again."""
    eventually(lambda: pair.reading.ear is None)


def test_a_loop_hears_its_messages_itself(pair: Pair) -> None:
    pair.hear()
    assert pair.reading.committed == pair.n


def test_a_burst_arrives_once_and_in_order(pair: Pair) -> None:
    pair.hear()
    push(pair.writing, "q", range(5000))
    assert take(pair.reading, "q", 5000) == list(range(5000))
    returned(pair)
    pair.hear()


def test_a_loop_that_does_not_sleep_gives_its_host_the_word_back(pair: Pair) -> None:
    pair.hear()
    reader = pair.reading.readers["q"]
    push(pair.writing, "q", [1])
    eventually(lambda: len(reader.entries) == 1)  # fetched, although the loop did not wait
    assert pair.reading.ear is None
    assert take(pair.reading, "q", 1) == [1]


def test_a_loop_that_awaits_its_messages_leaves_the_listening_to_its_host(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.hear()
    monkeypatch.setattr(Feed, "cool", lambda _: None)  # which would look after half a second
    monkeypatch.setattr(Watch, "look", lambda *_: False)  # and this after fifteen

    asyncio.run(pair.reading.wait_async(0.001))
    returned(pair)
    reader = pair.reading.readers["q"]
    push(pair.writing, "q", [1])
    eventually(lambda: len(reader.entries) == 1)
    assert take(pair.reading, "q", 1) == [1]


def test_another_loop_on_the_host_ends_it(world: World, pair: Pair) -> None:
    pair.hear()
    world.do(lambda admin: admin.enter_writers({"r": [A]}))
    other = pair.host.open(spec(C, reads=["r"]))
    assert pair.reading.ear is None
    world.do(lambda admin: admin.push("r", [item(7)]))
    assert take(other, "r", 1) == [7]
    pair.one()
    pair.host.close(other)
    pair.hear()


def test_a_loop_without_messages_for_a_while_is_rung(world: World, pair: Pair) -> None:
    pair.hear()
    until(pair.reading, lambda: pair.reading.ear is None)
    bells = world.key("q:q:m")
    eventually(lambda: bool(world.command("HGET", bells, "bells")))
    pair.one()


def test_a_loop_that_listens_learns_of_the_end(pair: Pair) -> None:
    pair.hear()
    pair.writing.append((), (), completes=True)
    until(pair.reading, lambda: pair.reading.ended("q"))


def test_a_loop_that_listens_survives_its_connection(world: World, pair: Pair) -> None:
    pair.hear()
    world.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    pair.n += 1
    push(pair.writing, "q", [pair.n])
    assert take(pair.reading, "q", 1) == [pair.n]
    pair.hear()


def test_what_a_hand_has_put_in_is_put_aside(world: World, pair: Pair) -> None:
    pair.hear()
    world.command("XADD", world.key("q:q"), "*", "hello", "world")
    pair.one()
    stats = world.do(lambda admin: admin.depths(["q"]))["q"]
    assert stats.dead == 1


def test_a_loop_that_listens_wakes_when_its_tenure_is_lost(world: World, pair: Pair) -> None:
    pair.hear()
    ear = pair.reading.ear
    stopping = threading.Thread(target=pair.host.stop)
    stopping.start()
    while pair.reading.lost is None:
        pair.reading.wait(None)
    stopping.join()
    assert ear is not None
    assert (pair.reading.ear, ear.listening) == (None, False)


def test_a_fork_does_not_listen(pair: Pair) -> None:
    pair.hear()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"listens" if pair.reading.ear is not None else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"no"
    os.close(read)
    os.close(write)
    pair.one()
