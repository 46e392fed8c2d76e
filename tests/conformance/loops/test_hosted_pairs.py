"""Loops in the agent's own pool hosts: all nine pairs of pools joined by a queue, over a real server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.loops.conftest import Rig
from tests.conformance.loops.hosted import ROLES, Nursery, make_rig, start_nursery
from tests.conformance.loops.plans import loop, node, produce, queue, read
from treadle_agent.setup import Role


@pytest.fixture(scope="module")
def nursery(server_url: str) -> Iterator[Nursery]:
    yield from start_nursery(server_url)


@pytest.fixture(params=["sync", "async"])
def hosted(request: pytest.FixtureRequest, nursery: Nursery, server_url: str, tmp_path: Path) -> Iterator[Rig]:
    yield from make_rig(nursery, server_url, "thread", request.param, tmp_path)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ROLES, ROLES)))
def test_every_message_moves_once_and_in_order_and_both_loops_complete(hosted: Rig, first: Role, second: Role) -> None:
    source = loop(produce("p", *({"n": n} for n in range(300))), queue("out", "between", after="p"), name="source")
    target = loop(read("in", "between"), node("t", "tag", after="in"), queue("end", "end", after="t"), name="target")
    hosted.enter(source, target)
    reader = hosted.start(target, pool=second)
    writer = hosted.start(source, pool=first)

    assert writer.outcome().kind == "completed"
    assert reader.outcome().kind == "completed"
    assert [payload["n"] for payload in hosted.payloads("end")] == list(range(300))
    assert reader.stats().committed >= 300


@pytest.mark.parametrize("role", ROLES)
def test_a_drained_loop_goes_on_where_it_was(hosted: Rig, role: Role) -> None:
    plan = loop(produce("p", *({"n": n} for n in range(2_000))), queue("out", "out", after="p"), name="source")
    hosted.enter(plan)
    first = hosted.start(plan, pool=role)
    hosted.until(lambda: len(hosted.payloads("out")) > 5)
    first.tell("drain")
    assert first.outcome().kind in {"drained", "completed"}

    assert hosted.start(plan, pool=role).outcome().kind == "completed"
    assert [payload["n"] for payload in hosted.payloads("out")] == list(range(2_000))


@pytest.mark.parametrize("role", ROLES)
def test_a_failure_says_where_and_what(hosted: Rig, role: Role) -> None:
    plan = loop(produce("p", {"n": 1}, {"n": 2}), node("f", "fail", after="p", at=2), queue("out", "out", after="f"))
    outcome = hosted.start(plan, pool=role).outcome()

    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.code) == ("failed", "f", "permanent")
    assert hosted.payloads("out") == [{"n": 1}]
