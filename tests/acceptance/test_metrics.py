"""The controller's page against a ledger that nodes keep: failures, retries, a restart and the death of an agent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.agents import agent
from tests.acceptance.documents import edges, node, save
from tests.acceptance.pushing import push
from tests.acceptance.running import Dev, dev, wait_until
from tests.servers import redis_server
from wfctl.dev.daemon import Daemon

NODES = str(Path(__file__).with_name("nodes") / "shaky.py")
SAMPLE = re.compile(r"^(treadle_\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
SHORT = 5  # iterations of the loop that is over before anybody looks
ATTEMPTS, ONCE, ALWAYS = 3, 4, 7  # of each number; numbers that fail at their first attempt, or always


@dataclass
class Cluster:
    """A cluster whose loop `work` runs on one agent after the other."""

    dev: Dev
    redis: str
    pushed: int = 0

    @property
    def folder(self) -> Path:
        return self.dev.folder

    def agent(self, name: str) -> AbstractContextManager[Daemon]:
        """Run one more agent, where `work` has its place; it is killed in the end."""
        return agent(
            name,
            controller=self.dev.address,
            redis_url=self.redis,
            nodes=[NODES],
            labels={"zone": "b"},
            folder=self.folder,
        )

    def push(self, count: int) -> None:
        """Push the next numbers."""
        first, self.pushed = self.pushed + 1, self.pushed + count
        push(self.dev.address, "numbers", range(first, self.pushed + 1))

    def page(self) -> str:
        address = re.search(r"HTTP (?:http://)?([\d.]+:\d+)", self.dev.err)
        assert address is not None, self.dev.err
        return httpx.get(f"http://{address[1]}/metrics").text

    def sums(self) -> Counter[str]:
        """Return what the page says, summed over all series of each loop, node, outcome or queue."""
        sums: Counter[str] = Counter()
        for name, held, value in SAMPLE.findall(self.page()):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', held))
            what = [labels[key] for key in ("loop", "node", "outcome") if key in labels] or [labels.get("queue", "")]
            sums[" ".join([name.removeprefix("treadle_").removesuffix("_total"), *what])] += float(value)  # type: ignore[assignment]
        return sums

    def booked(self) -> dict[str, int]:
        """Return the same of the ledger."""
        book = (self.folder / "book").read_text().splitlines()
        attempts = [(int(number), int(attempt), outcome) for number, attempt, outcome in map(str.split, book)]
        outcomes = Counter(outcome for _, _, outcome in attempts)
        dead = sum(attempt == ATTEMPTS and outcome == "failed" for _, attempt, outcome in attempts)
        done = len({number for number, _, _ in attempts})
        return {
            "loop_committed_iterations work": done,
            "loop_errors work": dead,
            "loop_retries work": sum(attempt > 1 for _, attempt, _ in attempts),
            "loop_dead_letters work": dead,
            "node_executions work shaky": done,
            "node_attempts work shaky succeeded": outcomes["succeeded"],
            "node_attempts work shaky failed": outcomes["failed"],
            "node_duration_seconds_count work shaky": outcomes["succeeded"],
            "loop_committed_iterations store": done - dead,
            "node_executions store keep": done - dead,
            "loop_errors store": 0,
            "loop_committed_iterations short": SHORT,
            "node_executions short short": SHORT,
            "node_executions short spin": SHORT,
            "node_duration_seconds_count short spin": SHORT,
            "loop_iteration_duration_seconds_count short": SHORT,
            "queue_pushed numbers": self.pushed,
            "queue_committed numbers": self.pushed,
            "queue_dead_letters numbers": dead,
            "queue_depth numbers": 0,
            "queue_pushed kept": done - dead,
            "queue_committed kept": done - dead,
        }

    def agrees(self) -> dict[str, int]:
        """Wait until all numbers are worked on and told; return the ledger."""

        def told() -> bool:
            booked, sums = self.booked(), self.sums()
            return booked["loop_committed_iterations work"] == self.pushed and all(
                sums[name] == count for name, count in booked.items()
            )

        try:
            wait_until(told, "the page says what the ledger says")
        except AssertionError as exc:
            booked, sums = self.booked(), self.sums()
            wrong = {name: (sums[name], count) for name, count in booked.items() if sums[name] != count}
            raise AssertionError(f"told and booked: {wrong}") from exc
        return self.booked()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ledger")
    (folder / "book").touch()
    with redis_server("valkey") as server, dev(folder, "--redis", server.url, "--nodes", NODES) as running:
        yield Cluster(running, server.url)


def document(book: Path) -> dict[str, Any]:
    retry = {"max_attempts": ATTEMPTS, "initial_backoff": "10ms", "on_exhausted": "dead-letter"}
    shaky = {"book": str(book), "once": ONCE, "always": ALWAYS}
    return {
        "name": "ledger",
        "nodes": [
            node("work", "queue-reader", 0, queue="numbers", external=True, placement={"labels": {"zone": "b"}}),
            node("shaky", "blocking", 200, uses="test.shaky", retry=retry, **{"with": shaky}),
            node("put", "queue", 400, queue="kept"),
            node("store", "queue-reader", 600, queue="kept", pool="process"),
            node("keep", "blocking", 800, uses="transform", **{"with": {"set": {"n": "data.n"}}}),
            node("short", "producer", 0, uses="generate", **{"with": {"limit": SHORT}}),
            node("spin", "blocking", 200, uses="transform", **{"with": {"set": {"n": "data.n"}}}),
        ],
        "edges": edges(("work", "shaky"), ("shaky", "put"), ("put", "store"), ("store", "keep"), ("short", "spin")),
    }


def test_sums_over_loops_are_a_ledgers_true_counts_and_go_with_their_workflow(cluster: Cluster) -> None:
    applied = save(cluster.folder, document(cluster.folder / "book"))
    wfctl = cluster.dev.wfctl
    with cluster.agent("first"):
        assert wfctl("apply", "-f", applied).code == 0
        cluster.push(60)
        cluster.agrees()
        assert wfctl("restart", "ledger/work").code == 0
        cluster.push(30)
        before = cluster.agrees()
    with cluster.agent("next"):
        cluster.push(90)
        after = cluster.agrees()

    assert before["loop_dead_letters work"] == 90 // ALWAYS
    assert after["loop_dead_letters work"] == 180 // ALWAYS
    assert wfctl("delete", "workflow", "ledger", "--with-queues").code == 0
    wait_until(lambda: "ledger" not in cluster.page() and "numbers" not in cluster.page(), "their series are gone")


def test_commits_are_told_to_the_last_one_although_an_agent_is_killed_at_work(cluster: Cluster) -> None:
    (cluster.folder / "book").write_text("")
    wfctl, before, count = cluster.dev.wfctl, cluster.pushed, 600
    dead = len([number for number in range(before + 1, before + count + 1) if number % ALWAYS == 0])
    expected = {
        "loop_committed_iterations work": count,
        "loop_committed_iterations store": count - dead,
        "queue_committed numbers": count,
        "queue_pushed kept": count - dead,
        "queue_dead_letters numbers": dead,
    }
    with cluster.agent("third"):
        assert wfctl("apply", "-f", save(cluster.folder, document(cluster.folder / "book"))).code == 0
        cluster.push(count)
        wait_until(lambda: cluster.sums()["loop_committed_iterations work"] > 0, "it is at work")
    with cluster.agent("fourth"):
        wait_until(lambda: cluster.sums().items() >= expected.items(), "all of it is told")

    booked, sums = cluster.booked(), cluster.sums()
    for outcome in ("succeeded", "failed"):  # what an agent counted last died with it
        assert 0 < sums[f"node_attempts work shaky {outcome}"] <= booked[f"node_attempts work shaky {outcome}"]
    assert wfctl("delete", "workflow", "ledger", "--with-queues").code == 0
