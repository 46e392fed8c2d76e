"""Exactly once between queues for a program in another language, whatever is killed and cut meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.clients.npm import node_client
from tests.acceptance.clients.secured_cluster import SecuredCluster, secured_cluster
from tests.chaos.clients.moving import FAULTS, Moving
from tests.cutting_proxy import CuttingProxy, cutting_proxy
from tests.require import Require
from treadle.queues import envelope
from treadle.queues.admin import QueueAdmin
from treadle.queues.codec import decode_batch

COUNT, A_LONG_COUNT = 3_000, 30_000
PAGE = 5_000  # entries


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, require: Require) -> Iterator[SecuredCluster]:
    """Return a cluster behind TLS."""
    node_client(require)
    with secured_cluster(tmp_path_factory.mktemp("moving"), aof="always") as one:
        yield one


@pytest.fixture(scope="module")
def proxy(cluster: SecuredCluster) -> Iterator[CuttingProxy]:
    """Return the way of the programs to the controller, which loses answers."""
    with cutting_proxy(f"tcp://{cluster.controller.address}") as one:
        yield one


def contents(url: str, queue: str) -> list[dict[str, Any]]:
    """Return the payloads of all that waits in a queue, in order: a page after the other, as one peek has its limit."""

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with QueueAdmin(url, "default") as admin:
            due = int(await admin.command("HGET", admin.keys.record(queue), "next") or 1)
            begin = "-"
            while page := await admin.command("XRANGE", admin.keys.queue(queue), begin, "+", "COUNT", PAGE):
                for ident, fields in page:
                    found += waiting(ident, fields, due)
                begin = f"({page[-1][0].decode()}"
        return found

    return asyncio.run(read())


def waiting(ident: bytes, fields: Any, due: int) -> Iterator[Any]:
    """Yield the payloads of an entry from the number that is due on."""
    flat = [part for pair in fields.items() for part in pair] if isinstance(fields, dict) else fields
    entry = envelope.parse([ident, flat])
    assert entry is not None
    for number, item in enumerate(decode_batch(entry.data, entry.size), entry.first):
        if number >= due:
            yield item[0]


def judge(play: Moving, url: str) -> None:
    """Every number once, in order, with what belongs to it; and the faults have bitten."""
    moved = contents(url, play.names[1])
    expected = [(n, extra) for n in range(play.count) for extra in ((False, True) if n % 10 == 0 else (False,))]
    assert [(one["n"], one.get("extra", False)) for one in moved] == expected
    assert contents(url, play.names[0]) == []

    openings = sorted(play.openings(), key=lambda one: one["epoch"])  # two that live write down theirs in any order
    assert len({one["epoch"] for one in openings}) == len(openings)
    assert [one["committed"] for one in openings] == sorted(one["committed"] for one in openings)
    assert len(openings) > play.done["kill mover"] + play.done["kill both"]
    assert len({one["pid"] for one in moved}) > 1


def test_a_program_in_javascript_loses_and_doubles_nothing(
    cluster: SecuredCluster, proxy: CuttingProxy, seed: int, minutes: float
) -> None:
    until = time.monotonic() + 60 * minutes
    count, more = (A_LONG_COUNT, 50) if minutes else (COUNT, 0)
    while True:
        chance = random.Random(seed)
        faults = [*chance.sample(FAULTS, len(FAULTS)), *chance.choices(FAULTS, k=more)]
        play = Moving(cluster, proxy, seed, count, faults)
        play.play()
        judge(play, cluster.controller.redis_url)
        assert set(play.done) == set(FAULTS)
        seed += 1
        if time.monotonic() > until:
            break
    assert proxy.cuts > 0


def test_without_transactions_the_same_program_doubles(cluster: SecuredCluster, proxy: CuttingProxy, seed: int) -> None:
    """The control: messages that are pushed beside the commits are there twice when a life ends in between."""
    play = Moving(cluster, proxy, seed + 1_000_000, 1_500, ["kill mover"] * 5, plain=True)
    play.play()
    moved = contents(cluster.controller.redis_url, play.names[1])
    assert len(moved) > len({(one["n"], one.get("extra", False)) for one in moved})
    with pytest.raises(AssertionError):
        judge(play, cluster.controller.redis_url)
