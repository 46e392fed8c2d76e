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
from treadle.queues.admin import QueueAdmin

COUNT, A_LONG_COUNT = 3_000, 30_000
MOST_MESSAGES = 100_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, require: Require) -> Iterator[SecuredCluster]:
    """Return a cluster behind TLS."""
    node_client(require)
    with secured_cluster(tmp_path_factory.mktemp("moving")) as one:
        yield one


@pytest.fixture(scope="module")
def proxy(cluster: SecuredCluster) -> Iterator[CuttingProxy]:
    """Return the way of the programs to the controller, which loses answers."""
    with cutting_proxy(f"tcp://{cluster.controller.address}") as one:
        yield one


def contents(url: str, queue: str) -> list[dict[str, Any]]:
    """Return the payloads of a queue, in order."""

    async def read() -> list[dict[str, Any]]:
        async with QueueAdmin(url, "default") as admin:
            return [peeked.item[0] for peeked in await admin.peek(queue, MOST_MESSAGES)]

    return asyncio.run(read())


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
