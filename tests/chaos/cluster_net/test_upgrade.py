"""Agents and the controller are upgraded one by one, and back again, while the ledger is being written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import redis

from tests.chaos.cluster_net.builds import NEWER, make_newer
from tests.chaos.cluster_net.conftest import FAULT, row
from tests.chaos.cluster_net.world import FEED, HAND, World, document, world
from treadle.queues.keys import Keys
from treadle.queues.tenure import LoopKey

_BAR_S = 3.0
_LOOK_S = 0.02


class Pauses(threading.Thread):
    """Looks at Redis many times a second, and keeps the longest time that a loop committed nothing."""

    def __init__(self, url: str, *loops: LoopKey) -> None:
        super().__init__(name="pauses", daemon=True)
        self.longest_s = dict.fromkeys(loops, 0.0)
        self._url = url
        self._over = threading.Event()

    def run(self) -> None:
        keys = {loop: Keys("default").loop(loop) for loop in self.longest_s}
        with redis.Redis.from_url(self._url) as client:
            seen: dict[LoopKey, tuple[object, float]] = {}
            while not self._over.wait(_LOOK_S):
                now = time.monotonic()
                for loop, key in keys.items():
                    iteration: object = client.hget(key, "iteration")
                    before, since = seen.get(loop, (None, now))
                    if iteration != before:
                        seen[loop] = (iteration, now)
                    self.longest_s[loop] = max(self.longest_s[loop], now - since)

    def end(self) -> dict[LoopKey, float]:
        self._over.set()
        self.join()
        return self.longest_s


@pytest.fixture
def cluster(minutes: float) -> Iterator[World]:
    with world(net=False, agents=3 if minutes else 2) as made:
        made.apply(document())
        made.until_commits(HAND)
        yield made


def change_controller(cluster: World, build: Path | None) -> None:
    cluster.stop_controller()
    _run(cluster, "controller", build)
    cluster.start_controller()
    cluster.until(lambda: len(cluster.ready()) == len(cluster.names), "all agents are back")


def change_agents(cluster: World, build: Path | None) -> None:
    for name in cluster.names:
        cluster.stop_agent(name)
        assert cluster.await_end(name) == 0
        _run(cluster, name, build)
        cluster.restart_agent(name)
        cluster.until_commits(HAND)


def _run(cluster: World, name: str, build: Path | None) -> None:
    if build is None:
        cluster.builds.pop(name, None)
    else:
        cluster.builds[name] = build


def test_a_rolling_upgrade_and_the_way_back_lose_nothing_and_pause_no_loop_for_long(
    cluster: World, tmp_path: Path, minutes: float, record_property: Callable[[str, object], None]
) -> None:
    worst = []
    newer = make_newer(tmp_path / "newer")
    for _ in range(10 if minutes else 1):
        pauses = Pauses(cluster.server.url, FEED, HAND)
        pauses.start()

        change_controller(cluster, newer)
        change_agents(cluster, newer)
        up = cluster.versions()
        change_agents(cluster, None)
        change_controller(cluster, None)
        down = cluster.versions()

        longest_s = pauses.end()
        worst.append(max(longest_s.values()))
        assert set(up.values()) == {NEWER}
        assert set(down.values()) == {version("treadle")}
        assert max(longest_s.values()) <= _BAR_S * (1.0 if minutes else 2.0), longest_s
        cluster.check_ledger()
        cluster.apply(document())
        cluster.until_commits(HAND)
    record_property(FAULT, row("rolling upgrade and back", worst, _BAR_S))
