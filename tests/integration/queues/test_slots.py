"""Several reader slots of one queue: ranges are claimed, handed over, and committed once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.queue_world import World, eventually, loop, polled, push, settle, spec, take, take_all, until, wait_for_end
from tests.servers import TestServer
from treadle.errors import TenureLost
from treadle.queues.redis_tenure import RedisTenure
from treadle.queues.tenure import LoopKey, Tenure
from treadle.workflow.plan import QueueLimits

A = loop("a")
SLOTS = [loop("b", n) for n in range(3)]


@pytest.fixture
def proxy(shared_server: TestServer) -> Iterator[CuttingProxy]:
    """Return a proxy in front of the shared server."""
    with cutting_proxy(shared_server.url) as one:
        yield one


def scale(world: World, keys: list[LoopKey], epoch: int) -> None:
    """Give the queue its slots."""
    world.do(lambda admin: admin.scale([(key, epoch) for key in keys], {"q": keys}, 1))


def rescale(world: World, keys: list[LoopKey], epoch: int) -> None:
    """Give the queue other slots, and every loop that may have read it a new epoch."""
    world.do(lambda admin: admin.scale([(key, epoch) for key in SLOTS], {"q": keys}, 1))


def drain(tenures: list[Tenure], queue: str, total: int) -> list[list[int]]:
    """Take turns until everything was taken."""
    got: list[list[int]] = [[] for _ in tenures]
    while sum(map(len, got)) < total:
        for mine, tenure in zip(got, tenures, strict=True):
            batch = tenure.poll(queue)
            if batch is None:
                tenure.wait(0.02)
                continue
            for i, one in enumerate(batch.items):
                mine.append(one[0]["n"])
                tenure.append(((queue, batch.first + i, batch.first + i),), ())
    for tenure in tenures:
        settle(tenure)
    return got


def test_three_slots_share_a_queue_and_each_message_goes_to_one(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A)
    scale(world, SLOTS, 1)
    host = world.host()
    writer = host.open(spec(A, writes=["q"]))
    readers: list[Tenure] = [host.open(spec(key, reads=["q"])) for key in SLOTS]
    push(writer, "q", range(3000))

    got = drain(readers, "q", 3000)

    assert sorted(n for mine in got for n in mine) == list(range(3000))
    assert all(mine == sorted(mine) and mine for mine in got)
    writer.append((), (), completes=True)
    settle(writer)
    for reader in readers:
        wait_for_end(reader, "q")


def test_a_queue_ends_for_an_idle_slot_when_another_commits_the_last_claim(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A)
    scale(world, SLOTS[:2], 1)
    host = world.host()
    writer = host.open(spec(A, writes=["q"]))
    busy = host.open(spec(SLOTS[0], reads=["q"]))
    push(writer, "q", [0])
    polled(busy, "q")
    idle = host.open(spec(SLOTS[1], reads=["q"]))
    writer.append((), (), completes=True)
    settle(writer)
    assert not idle.ended("q")

    busy.append((("q", 1, 1),), ())
    settle(busy)

    until(idle, lambda: idle.ended("q"))


def test_few_messages_spread_over_the_slots(world: World) -> None:
    world.assign(A)
    scale(world, SLOTS, 1)
    host = world.host()
    push(host.open(spec(A, writes=["q"])), "q", range(30))
    reader = host.open(spec(SLOTS[0], reads=["q"]))
    polled(reader, "q")
    assert world.do(lambda admin: admin.depths(["q"]))["q"].claimed <= 10


def test_a_claim_whose_answer_was_lost_takes_nothing_new(world: World, proxy: CuttingProxy) -> None:
    world.assign(A)
    scale(world, SLOTS[:1] + SLOTS[1:2], 1)
    push(world.host().open(spec(A, writes=["q"])), "q", range(400))
    host = world.host(proxy.url)
    proxy.cut(b"treadle_claim", times=4, every=2)

    reader = host.open(spec(SLOTS[0], reads=["q"]))

    assert take(reader, "q", 400) == list(range(400))
    assert proxy.cuts == 4
    stats = world.do(lambda admin: admin.depths(["q"]))["q"]
    assert (stats.depth, stats.claimed, stats.bytes, stats.committed) == (0, 0, 0, 400)


def test_a_slot_opened_again_works_off_what_it_had_claimed(world: World) -> None:
    world.assign(A)
    scale(world, SLOTS, 1)
    host = world.host()
    push(host.open(spec(A, writes=["q"])), "q", range(100))
    dead = host.open(spec(SLOTS[0], reads=["q"]))
    polled(dead, "q")
    host.close(dead)

    again: list[Tenure] = [host.open(spec(key, reads=["q"])) for key in SLOTS[:2]]

    assert sorted(n for mine in drain(again, "q", 100) for n in mine) == list(range(100))


def test_claims_of_removed_slots_go_to_the_first_and_their_owners_are_fenced(world: World) -> None:
    world.assign(A)
    scale(world, SLOTS, 1)
    host = world.host()
    push(host.open(spec(A, writes=["q"])), "q", range(300))
    olds: list[RedisTenure] = [host.open(spec(key, reads=["q"])) for key in SLOTS]
    for old in olds:
        polled(old, "q")

    world.do(lambda admin: admin.scale([(key, 2) for key in SLOTS], {"q": SLOTS[:1]}, 1))
    for old in olds:
        first = old.readers["q"].last_claim
        old.append((("q", 1, first),), ())
        with pytest.raises(TenureLost):
            settle(old)

    one = host.open(spec(SLOTS[0], 2, reads=["q"]))
    assert take(one, "q", 300) == list(range(300))
    assert world.do(lambda admin: admin.depths(["q"]))["q"].depth == 0


def test_a_stale_epoch_scales_nothing(world: World) -> None:
    world.assign(*SLOTS, epoch=5)
    with pytest.raises(Exception, match="epoch"):
        scale(world, SLOTS, 4)
    assert world.command("HGET", world.key("q:q:m"), "mode") is None


def test_from_one_to_three_and_back_under_load_nothing_is_lost_or_doubled(world: World) -> None:
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, *SLOTS)
    host = world.host()
    writer = host.open(spec(A, writes=["q"]))
    seen: list[int] = []
    for epoch, keys in enumerate(([SLOTS[0]], SLOTS, [SLOTS[0]], SLOTS, [SLOTS[0]]), start=2):
        push(writer, "q", range((epoch - 2) * 500, (epoch - 1) * 500))
        rescale(world, keys, epoch)
        for n, key in enumerate(keys):
            tenure = host.open(spec(key, epoch, reads=["q"]))
            # Each takes some, commits some of that, and is left with the rest.
            for _ in range(3):
                batch = tenure.poll("q")
                if batch is None:
                    tenure.wait(0.05)
                    continue
                half = batch.items[: len(batch.items) // (n + 1)]
                for i, one in enumerate(half):
                    seen.append(one[0]["n"])
                    tenure.append((("q", batch.first + i, batch.first + i),), ())
                if len(half) < len(batch.items):
                    break
            settle(tenure)
            host.close(tenure)
    writer.append((), (), completes=True)
    settle(writer)

    seen += take_all(host.open(spec(SLOTS[0], 6, reads=["q"])), "q")

    assert sorted(seen) == list(range(2500))


def test_a_drop_oldest_queue_keeps_the_newest_and_nothing_that_was_claimed_is_dropped(world: World) -> None:
    world.assign(A, SLOTS[0])
    host = world.host()
    writer = host.open(spec(A, writes=["q"], limits=QueueLimits(10, None, "drop-oldest")))
    push(writer, "q", range(8))
    reader = host.open(spec(SLOTS[0], reads=["q"]))
    claimed = take(reader, "q", 1, commit=False)
    eventually(lambda: world.do(lambda admin: admin.depths(["q"]))["q"].claimed > 0)
    held = world.do(lambda admin: admin.depths(["q"]))["q"].claimed

    push(writer, "q", range(8, 100))

    stats = world.do(lambda admin: admin.depths(["q"]))["q"]
    assert (stats.depth, stats.claimed) == (10, held)
    rest = take(reader, "q", 9, commit=False)
    assert claimed + rest == [*range(held), *range(100 - (10 - held), 100)]
    reader.append([("q", n + 1, n + 1) for n in claimed + rest], ())
    settle(reader)
    assert world.do(lambda admin: admin.depths(["q"]))["q"].depth == 0
