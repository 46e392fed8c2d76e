"""Prepared situations with real processes: `wfctl why` names the true cause in each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.acceptance.agents import agent
from tests.acceptance.documents import Document, edges, node, save
from tests.acceptance.running import Ran, wait_until, wfctl
from tests.servers import TestServer, redis_server
from wfctl.client import actor
from wfctl.dev.cluster import Cluster, ClusterConfig
from wfctl.dev.daemon import Daemon

NODES = str(Path(__file__).with_name("nodes") / "moods.py")
AWAY = {"placement": {"labels": {"side": "other"}}}


class World:
    """A cluster of one agent, dev-1, and its server; a stray one on a server of its own can be added."""

    def __init__(self, folder: Path, cluster: Cluster, server: TestServer) -> None:
        self.folder = folder
        self.cluster = cluster
        self.server = server

    def wfctl(self, *argv: str, stdin: str = "") -> Ran:
        return wfctl(*argv, address=self.cluster.address, stdin=stdin)

    def apply(self, document: Document) -> None:
        ran = self.wfctl("apply", "--detach", "-f", save(self.folder, document))
        assert ran.code == 0, ran.err

    def why(self, what: str, code: str, *words: str) -> Any:
        """Wait until the verdict has this code, and these words in its sentence, and return it."""

        def answer() -> Any:
            ran = self.wfctl("why", what, "-o", "json")
            assert ran.code == 0, ran.err
            right = ran.json["reason"]["code"] == code and all(word in ran.json["sentence"] for word in words)
            return ran.json if right else None

        try:
            return wait_until(answer, code)
        except AssertionError as exc:
            raise AssertionError(f"{what}: {self.wfctl('why', what).out}") from exc

    def clean_up(self) -> None:
        """Delete all workflows."""
        for name in self.wfctl("get", "workflows", "-o", "name").out.split():
            assert self.wfctl("delete", "workflow", name.removeprefix("workflow/"), "--with-queues").code == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("why")
    with redis_server(aof="no", folder=folder / "redis") as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TREADLE_AGENT_SLOTS", json.dumps({"thread": 6, "process": 1, "asyncio": 2}))
        cluster = Cluster(
            ClusterConfig(redis=server.url, state_dir=folder / "state", nodes=(NODES,), port=0, http_port=0)
        )
        cluster.start()
        try:
            cluster.wait_listening(lambda _: None)
            made = World(folder, cluster, server)
            wait_until(lambda: "READY" in made.wfctl("agent", "ls").out, "the agent is ready")
            yield made
        finally:
            cluster.stop()


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    yield
    world.clean_up()


def stranger(world: World, name: str, redis_url: str) -> AbstractContextManager[Daemon]:
    """Run one more agent, which has the label that nobody else has."""
    return agent(
        name,
        controller=world.cluster.address,
        redis_url=redis_url,
        nodes=[NODES],
        labels={"side": "other"},
        folder=world.folder,
    )


def facts(verdict: Any) -> str:
    return "\n".join(f"{one['subject']} {one['fact']}" for one in verdict["evidence"])


def made(name: str, **settings: Any) -> Document:
    """Return a loop of one producer."""
    first = {"uses": "test.make", "with": {"seconds": 0.05}, **settings}
    return {"name": name, "nodes": [node("make", "producer", 0, **first)], "edges": []}


def joined(name: str, *, limit: int = 20, make: Document | None = None, work: Document | None = None) -> Document:
    """Return two loops: `make` pushes to a queue, which `take` reads and works on."""
    worker = {"uses": "test.slow", "with": {"seconds": 0.1}, **(work or {})}
    return {
        "name": name,
        "nodes": [
            node("make", "producer", 0, **{"uses": "test.make", "max_in_flight": 5, **(make or {})}),
            node("put", "queue", 200, queue=f"{name}-q", limits={"messages": limit}),
            node("take", "queue-reader", 400, queue=f"{name}-q"),
            node("work", "blocking", 600, **worker),
        ],
        "edges": edges(("make", "put"), ("put", "take"), ("take", "work")),
    }


def test_labels_that_no_agent_has(world: World) -> None:
    world.apply(made("labelled", placement={"labels": {"gpu": "yes"}}))
    found = world.why("labelled/make", "no-matching-labels")

    assert "has the labels gpu=yes" in found["sentence"]
    assert "agent dev-1 lacks the labels gpu=yes (it has: none)" in facts(found)


def test_slots_that_are_taken(world: World) -> None:
    world.apply(made("crowd", pool="process"))
    world.apply(made("late", pool="process"))
    found = world.why("late/make", "no-free-slot")

    assert facts(found) == "agent dev-1 has 1 of 1 process slots taken"


def test_an_agent_that_is_cordoned(world: World) -> None:
    assert world.wfctl("agent", "cordon", "dev-1").code == 0
    world.apply(made("kept-out"))
    found = world.why("kept-out", "no-agent-ready")

    assert "dev-1: cordoned" in found["sentence"]
    assert "uncordon" in found["fix"]
    assert world.wfctl("agent", "uncordon", "dev-1").code == 0


def test_a_reader_that_waits_since_its_writer_was_paused_by_somebody(world: World) -> None:
    world.apply(joined("dry", make={"with": {"seconds": 0.02}}, work={"with": {"seconds": 0.0}}))
    world.why("dry/take", "idle")
    assert world.wfctl("pause", "dry/make").code == 0
    paused = world.why("dry/make", "paused")

    def told() -> bool:
        said = world.wfctl("why", "dry/take").out
        return "in dry-q for " in said and "dry/make was paused" in said

    wait_until(told, "the reader's verdict says since when and by whom")
    found = world.why("dry/take", "idle")

    assert f"dry/make was paused by {actor()} at " in paused["sentence"]
    assert found["sentence"].startswith("dry/take runs and waits for messages in dry-q for ")
    assert f"dry/make was paused by {actor()}" in found["sentence"]
    assert world.why("dry", "paused")["loop"] == "dry/make"


def test_a_full_queue_whose_reader_is_slow(world: World) -> None:
    world.apply(joined("full"))
    found = world.why("full/make", "queue-full", "waits for ", "node work takes ")

    assert "room in full-q (" in found["sentence"]
    assert " of 20 messages" in found["sentence"]
    assert "full/take lags" in found["sentence"]
    assert "readers: full/take" in facts(found)
    assert " for room in full-q since it began" in facts(found)
    assert "s for full-q" in world.wfctl("describe", "loop", "full/make").out


def test_a_reader_that_lags_because_of_one_node(world: World) -> None:
    world.apply(joined("behind", limit=100_000, make={"with": {"seconds": 0.002}}))
    found = world.why("behind/take", "lagging", "node work takes ")

    assert "wait in behind-q" in found["sentence"]
    assert float(found["sentence"].partition("node work takes ")[2].partition("%")[0]) > 90


def test_a_loop_that_backs_off_after_an_error(world: World) -> None:
    settings = {"retry": {"max_attempts": 1, "on_exhausted": "restart-loop"}, "with": {"path": "/no/such/file"}}
    restart = {"restart": {"mode": "always", "initial_backoff": "60s", "max_backoff": "60s"}}
    document = joined("failing", make={"with": {"seconds": 0.02}}, work={"uses": "test.picky", **settings})
    document["nodes"][2]["data"] |= restart
    world.apply(document)
    found = world.why("failing/take", "exception", "failing/take failed and is started again in ")

    assert "work: FileNotFoundError" in found["sentence"]
    assert "/no/such/file" in found["sentence"]


def test_dead_letters_that_are_full(world: World) -> None:
    """64 MiB of them, in messages of nearly one."""
    settings = {"retry": {"max_attempts": 1}, "with": {"path": "/no/such/file"}}
    restart = {"restart": {"mode": "never"}}
    document = joined("dead", make={"with": {"bytes": 1_000_000}}, work={"uses": "test.picky", **settings})
    document["nodes"][2]["data"] |= restart
    world.apply(document)
    found = world.why("dead/take", "DLQ_FULL")

    assert "because the dead letters of dead-q are full" in found["sentence"]
    assert "wfctl dlq ls dead-q" in found["fix"]


def test_a_server_out_of_memory(world: World) -> None:
    world.apply(joined("fat", limit=100_000, make={"with": {"bytes": 1_000}}, work={"with": {"seconds": 1.0}}))
    with redis.Redis.from_url(world.server.url) as client:
        wait_until(lambda: world.why("fat/take", "lagging"), "it fills")
        client.config_set("maxmemory", "1mb")
        found = world.why("fat/make", "out-of-memory")
        client.config_set("maxmemory", "0")

    assert "the server of the queues is out of memory" in found["sentence"]
    assert "redis OOM command not allowed" in facts(found)
    wait_until(lambda: world.why("fat/take", "lagging"), "it goes on")


def test_an_agent_of_another_server_and_one_that_is_lost(world: World) -> None:
    world.apply(made("astray", **AWAY))
    world.why("astray/make", "no-matching-labels")
    with redis_server() as other:
        with redis.Redis.from_url(other.url) as client:
            client.hset("{treadle:default}:meta", "id", "somebody-elses")
        with stranger(world, "stray", other.url):
            found = world.why("astray/make", "wrong-redis")
            assert "agent stray is connected to another Redis" in found["sentence"]
    found = world.why("astray/make", "no-agent-ready")
    assert "stray: not connected" in found["sentence"]


def test_a_loop_that_failed_for_good(world: World) -> None:
    settings = {"retry": {"max_attempts": 1, "on_exhausted": "fail-loop"}, "with": {"path": "/no/such/file"}}
    document = joined("hopeless", make={"with": {"seconds": 0.02}}, work={"uses": "test.picky", **settings})
    document["nodes"][2]["data"] |= {"restart": {"mode": "never"}}
    world.apply(document)
    found = world.why("hopeless", "exception")

    assert found["loop"] == "hopeless/take"
    assert "hopeless/take failed for good: work: FileNotFoundError" in found["sentence"]
    assert "wfctl restart hopeless/take" in found["fix"]


def test_queues_that_cannot_be_reached(world: World) -> None:
    world.apply(made("cut-off"))
    world.why("cut-off/make", "running")
    world.server.pause()
    try:
        found = world.why("cut-off/make", "redis-unreachable")
    finally:
        world.server.resume()

    assert "cut-off/make waits" in found["sentence"]
    world.why("cut-off/make", "running")


def test_a_quick_producer_is_said_neither_to_rest_nor_to_work_for_long_after_its_restart_either(world: World) -> None:
    world.apply(made("paced", interval="50ms", **{"with": {"seconds": 0.0}}))
    world.apply(made("busy"))
    world.why("paced/make", "running", "commits ")

    def incarnation(loop: str) -> int:
        (one,) = world.wfctl("get", "loops", loop, "-o", "json").json["loops"]
        return int(one["instances"][0]["status"]["incarnation"])

    loops, said = ("paced/make", "busy/make"), list[str]()
    before = {loop: incarnation(loop) for loop in loops}
    assert world.wfctl("restart", "paced/make").code == world.wfctl("restart", "busy/make").code == 0

    def at_pace() -> bool:
        now = [world.wfctl("why", loop).out for loop in loops]
        said.extend(now)
        return all(incarnation(loop) > before[loop] for loop in loops) and all("commits " in each for each in now)

    wait_until(at_pace, "they are at their pace again")

    assert not [each for each in said if "no work" in each or "at work for" in each]
