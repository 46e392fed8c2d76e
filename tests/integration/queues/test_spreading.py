"""Messages that take long spread over the replicas of a loop: nobody hoards what others could work on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.queue_world import World, loop, polled, push, settle, spec, until
from tests.servers import TestServer
from treadle.queues import library, reader
from treadle.queues.redis_tenure import RedisTenure

A = loop("a")
SLOTS = [loop("b", n) for n in range(3)]
MESSAGES = 60


@pytest.fixture
def world(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return a namespace on a server of its own, where no replica counts as quick enough to claim ahead."""
    monkeypatch.setattr(reader, "QUICK_S", 0.0)
    one = World(server.url)
    yield one
    one.stop()


class Replica:
    """One replica: it has one message in hand for a whole round."""

    def __init__(self, world: World, tenure: RedisTenure) -> None:
        self.world = world
        self.tenure = tenure
        self.hand: list[int] = []  # numbers of messages
        self.done = 0

    def work(self) -> bool:
        """Work on one message; False when there is none that it could have."""
        until(self.tenure, lambda: self._takes() or not self._something_waits())
        if not self._takes():
            return False
        number = self.hand.pop(0)
        self.tenure.append((("q", number, number),), ())
        settle(self.tenure)
        self.done += 1
        return True

    def _takes(self) -> bool:
        if not self.hand and (batch := self.tenure.poll("q")) is not None:
            self.hand = list(range(batch.first, batch.first + len(batch.items)))
        return bool(self.hand)

    def _something_waits(self) -> bool:
        stats = self.world.do(lambda admin: admin.depths(["q"]))["q"]
        return stats.depth > stats.claimed

    @property
    def claimed(self) -> int:
        """How many messages it has claimed and not committed."""
        raw = self.world.command("HGET", self.world.key("q:q:c"), str(self.tenure.key))
        ends = [int(end) for end in raw.split()] if isinstance(raw, bytes) else []
        return sum(last - first + 1 for first, last in zip(ends[::2], ends[1::2], strict=True))


def spread(world: World) -> tuple[list[int], int]:
    """Scale a slow loop from one to three; return who did how much, and the most that one held while another idled."""
    world.assign(A, SLOTS[0])
    host = world.host()
    push(host.open(spec(A, writes=["q"])), "q", range(MESSAGES))
    polled(host.open(spec(SLOTS[0], reads=["q"])), "q")  # it has fetched many, and works on the first
    world.do(lambda admin: admin.scale([(key, 2) for key in SLOTS], {"q": SLOTS}, 1))
    replicas = [Replica(world, host.open(spec(key, 2, reads=["q"]))) for key in SLOTS]
    hoarded = 0
    while sum(replica.done for replica in replicas) < MESSAGES:
        idle = [replica for replica in replicas if not replica.work()]
        if idle:
            hoarded = max(hoarded, *(replica.claimed for replica in replicas))
    return [replica.done for replica in replicas], hoarded


def test_slow_messages_spread_over_the_replicas(world: World) -> None:
    done, hoarded = spread(world)

    assert sum(done) == MESSAGES
    assert min(done) >= MESSAGES // 3 - 2
    assert hoarded <= 1


def test_with_large_claims_one_replica_would_hoard(world: World) -> None:
    share, source = "math.ceil(waiting / (2 * q.slots))", library.source()
    assert source.count(share) == 1
    world.command("FUNCTION", "LOAD", "REPLACE", source.replace(share, "waiting"))

    done, hoarded = spread(world)

    assert (sum(done), min(done)) == (MESSAGES, 0)
    assert hoarded > MESSAGES // 2
