"""Changing a loop that moves 10,000 messages a second: nothing is lost, doubled or reordered; state is handed over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.documents import Document, edges, node, save
from tests.acceptance.running import Dev, command_of, dev, marked, wait_until
from tests.servers import redis_server
from tests.steady_flow import PER_S, Feeder, everything

CODE = Path(__file__).with_name("nodes") / "tally.py"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dev, str]]:
    """Return a `wfctl dev` with a copy of the nodes that may be changed, and its Redis."""
    folder = tmp_path_factory.mktemp("hot")
    (folder / "tally.py").write_text(CODE.read_text())
    with redis_server() as server, dev(folder, "--redis", server.url, "--nodes", str(folder / "tally.py")) as running:
        yield running, server.url
        assert running.stop() == 0


def moving(name: str, pool: str, version: int) -> Document:
    """Return a loop that moves messages and counts them."""
    return {
        "name": name,
        "nodes": [
            node("in", "queue-reader", 0, queue=f"{name}-in", external=True, pool=pool),
            node("tally", "blocking", 200, uses="test.tally", **{"with": {"version": version}}),
            node("out", "queue", 400, queue=f"{name}-out", external=True),
        ],
        "edges": edges(("in", "tally"), ("tally", "out")),
    }


def moved(running: Dev, name: str) -> int:
    """Return how many messages have come through."""
    found = running.wfctl("queue", "ls", "-o", "json").json["queues"]
    return next((int(one.get("pushed", 0)) for one in found if one["name"] == f"{name}-out"), 0)


def check(messages: list[Any], versions: list[int]) -> None:
    """Each number once and in order, counted without a gap, by one version after the other."""
    numbers = list(range(len(messages)))
    assert [one["n"] for one in messages] == numbers
    assert [one["seen"] for one in messages] == [n + 1 for n in numbers]
    said = [one["version"] for one in messages]
    assert said == sorted(said)
    assert sorted(set(said)) == versions


@pytest.mark.parametrize("pool", ["thread", "process", "asyncio"])
def test_a_changed_parameter_takes_over_between_two_messages(stand: tuple[Dev, str], pool: str) -> None:
    running, url = stand
    name = f"hot-{pool}"
    assert running.wfctl("apply", "-f", save(running.folder, moving(name, pool, 0))).code == 0
    feeder = Feeder(url, f"{name}-in")
    feeder.start()
    for version in (1, 2):
        before = moved(running, name)
        wait_until(lambda: moved(running, name) > before + PER_S // 10, "it moves")  # noqa: B023
        assert running.wfctl("apply", "-f", save(running.folder, moving(name, pool, version))).code == 0

    fed = feeder.stop()
    wait_until(lambda: moved(running, name) >= fed, "everything has arrived")
    messages = everything(url, f"{name}-out")

    assert len(messages) == fed
    check(messages, [0, 1, 2])


def test_new_code_of_a_node_starts_in_a_new_process_and_migrates_the_state(stand: tuple[Dev, str]) -> None:
    running, url = stand
    name = "hot-code"
    assert running.wfctl("apply", "-f", save(running.folder, moving(name, "thread", 0))).code == 0
    feeder = Feeder(url, f"{name}-in")
    feeder.start()
    wait_until(lambda: moved(running, name) > PER_S // 10, "it moves")
    before = process_of(running, f"{name}/in")

    renew(running)

    wait_until(lambda: process_of(running, f"{name}/in") not in (0, before), "another process")
    seen = moved(running, name)
    wait_until(lambda: moved(running, name) > seen + PER_S // 10, "it moves on")
    fed = feeder.stop()
    wait_until(lambda: moved(running, name) >= fed, "everything has arrived")
    messages = everything(url, f"{name}-out")
    assert len(messages) == fed
    check(messages, [0, 1000])  # the new code adds 1000


def process_of(running: Dev, loop: str) -> int:
    return int(running.loop(loop)["instances"][0]["status"].get("processId", 0))


def renew(running: Dev) -> None:
    """Install the second version of the nodes and have the agent look at it."""
    code = (running.folder / "tally.py").read_text()
    (running.folder / "tally.py").write_text(code.replace("VERSION: int = 1", "VERSION: int = 2"))
    agents = [pid for pid in marked(running.mark) if " -m treadle_agent " in command_of(pid)]
    assert len(agents) == 1
    os.kill(agents[0], signal.SIGHUP)
