"""A queue that drops its oldest, while its ends are taken over and answers are lost: nothing twice, the newest stay."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.queue_world import World, item, loop, settle, spec, until
from tests.require import Require
from tests.servers import KINDS, binary_of, redis_server
from treadle.errors import TenureLost
from treadle.queues.tenure import Tenure
from treadle.workflow.plan import QueueLimits

A, B = loop("a"), loop("b")
KEPT, PUSHED, TURNS = 50, 4000, 80
LIMITS = QueueLimits(KEPT, None, "drop-oldest")


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, require: Require) -> Iterator[tuple[World, CuttingProxy]]:
    """Return a namespace on a server behind a proxy."""
    require(binary_of(request.param), f"a {request.param} server")
    with redis_server(request.param) as server, cutting_proxy(server.url) as proxy:
        one = World(server.url, proxy.url)
        yield one, proxy
        one.stop()


class Ends:
    """Both ends of the queue, taken over again and again. What a zombie does must change nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._host = world.host()
        self._epoch = 0
        self.pushed = 0
        self.seen: list[int] = []
        self.refused = 0
        self.writer: Tenure
        self.reader: Tenure
        self.take_over_writer()
        self.take_over_reader()

    def take_over_writer(self) -> None:
        self._world.assign(A, epoch=self._next())
        self.writer = self._host.open(spec(A, self._epoch, writes=["q"], limits=LIMITS))

    def take_over_reader(self) -> None:
        self._world.assign(B, epoch=self._next())
        self.reader = self._host.open(spec(B, self._epoch, reads=["q"]))

    def leave(self) -> None:
        """Let nobody read: what is pushed now is claimed by none."""
        self._host.close(self.reader)

    def depth(self) -> int:
        return self._world.do(lambda admin: admin.depths(["q"]))["q"].depth

    def _next(self) -> int:
        self._epoch += 1
        return self._epoch

    def push(self, count: int) -> None:
        for _ in range(count):
            until(self.writer, lambda: self.writer.has_room)
            self.writer.append((), (("q", item(self.pushed)),))
            self.pushed += 1
        settle(self.writer)

    def zombie_pushes(self) -> None:
        """Push as one whose epoch is over, after the successor has begun."""
        zombie = self.writer
        self.take_over_writer()
        zombie.append((), (("q", item(-1)),))
        self._is_fenced(zombie)

    def read(self) -> int:
        """Take and commit what is here; returns how many."""
        count = 0
        while (batch := self.reader.poll("q")) is not None:
            for at, got in enumerate(batch.items):
                self.reader.append((("q", batch.first + at, batch.first + at),), ())
                self.seen.append(got[0]["n"])
                count += 1
        settle(self.reader)
        return count

    def zombie_reads(self) -> None:
        """Commit as one whose epoch is over what the successor will read too."""
        zombie = self.reader
        batch = zombie.poll("q")
        if batch is not None:
            zombie.give_back(batch)
        self.take_over_reader()
        if batch is not None:
            zombie.append((("q", batch.first, batch.first),), ())
            self._is_fenced(zombie)

    def _is_fenced(self, zombie: Tenure) -> None:
        with pytest.raises(TenureLost) as caught:
            settle(zombie)
        self.refused += caught.value.reason in {"fenced", "shifted"}


def test_nothing_comes_twice_and_the_newest_stay(world: tuple[World, CuttingProxy], seed: int) -> None:
    here, proxy = world
    rng = random.Random(seed)
    ends = Ends(here)
    faults: list[Callable[[], object]] = [
        ends.zombie_pushes,
        ends.zombie_reads,
        ends.take_over_reader,
        lambda: proxy.cut(b"treadle_commit"),
        lambda: proxy.cut(b"treadle_acknowledge"),
        lambda: proxy.cut(b"treadle_claim"),
    ]
    for _ in range(TURNS):
        rng.choice(faults)()
        ends.push(rng.randint(1, 2 * PUSHED // TURNS))
        if rng.random() < 0.6:
            ends.read()
    until(ends.reader, lambda: ends.read() >= 0 and ends.depth() == 0)
    ends.leave()
    ends.push(2 * KEPT)
    ends.take_over_reader()
    until(ends.reader, lambda: ends.read() >= 0 and ends.seen[-1] == ends.pushed - 1)

    stats = here.do(lambda admin: admin.depths(["q"]))["q"]
    assert ends.seen == sorted(set(ends.seen))
    assert -1 not in ends.seen
    assert len(ends.seen) + stats.dropped == ends.pushed == stats.pushed
    assert ends.seen[-KEPT:] == list(range(ends.pushed - KEPT, ends.pushed))
    assert stats.dropped > 100
    assert ends.refused > 5
    assert proxy.cuts > 5
