"""Real daemons on hosts of their own, and what may happen to hosts: nothing is lost, nothing is doubled.

One cluster for all tests here; the ledger is counted after each fault. With MINUTES each fault lasts and repeats as
the bars ask for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from tests.chaos.cluster_net.conftest import FAULT, row
from tests.chaos.cluster_net.net import Net, Way, is_possible
from tests.chaos.cluster_net.slow import SlowLink
from tests.chaos.cluster_net.world import FEED, HAND, World, document, world
from tests.require import Require

LOOPS = (FEED, HAND)
Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Form:
    """How much of it: bars are held with room where the machine is shared with other tests."""

    repetitions: int
    one_way: int  # repetitions of a link that is lost only one way
    fault_s: float  # of what lasts
    slow_s: float
    room: float


@pytest.fixture(scope="module")
def form(minutes: float) -> Form:
    return Form(20, 10, 60.0, min(600.0, minutes * 60), 1.0) if minutes else Form(1, 1, 3.0, 5.0, 2.0)


@pytest.fixture(scope="module")
def cluster(require: Require) -> Iterator[World]:
    require(is_possible(), "root, ip and iptables")
    with world(net=True) as made:
        made.apply(document())
        made.until_commits(HAND)
        made.outlast_grace()
        yield made


@pytest.fixture
def net(cluster: World) -> Net:
    """The network, with all agents there and the ledger being written."""
    assert cluster.net is not None
    cluster.apply(document())
    cluster.until(lambda: len(cluster.ready()) == 3, "all agents are ready")
    cluster.until_commits(HAND)
    return cluster.net


def holder(cluster: World) -> str:
    return cluster.until(lambda: cluster.holder(FEED), "somebody holds the feed")


def test_a_killed_agent_s_loops_commit_again_within_three_seconds(
    cluster: World, net: Net, form: Form, record_property: Record
) -> None:
    took = []
    for _ in range(form.repetitions):
        name = holder(cluster)
        took.append(cluster.next_commit_s(FEED, partial(cluster.kill, name)))
        cluster.restart_agent(name)

    record_property(FAULT, row("agent killed", took, 3.0))
    assert max(took) <= 3.0 * form.room
    cluster.check_ledger()


@pytest.mark.parametrize("way", ["both", "in", "out"])
def test_the_loops_of_a_host_without_link_commit_again_within_five_seconds(
    cluster: World, net: Net, form: Form, way: Way, record_property: Record
) -> None:
    took = []
    for _ in range(form.repetitions if way == "both" else form.one_way):
        name = holder(cluster)
        took.append(cluster.next_commit_s(FEED, partial(net.cut, name, way)))
        net.heal(name)
        cluster.until(lambda: len(cluster.ready()) == 3, "the agent is back")

    record_property(FAULT, row(f"link lost, {way}", took, 5.0))
    assert max(took) <= 5.0 * form.room
    cluster.check_ledger()


def test_an_agent_that_was_frozen_can_commit_nothing_when_it_goes_on(
    cluster: World, net: Net, form: Form, record_property: Record
) -> None:
    name = holder(cluster)
    begun = time.monotonic()
    frozen: list[int] = []

    took = cluster.next_commit_s(FEED, lambda: frozen.extend(cluster.freeze(name)))
    cluster.until(lambda: time.monotonic() - begun > form.fault_s, "the fault is over", form.fault_s + 1)
    epochs = {loop: cluster.tenure(loop)[0] for loop in LOOPS}
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    cluster.until(lambda: len(cluster.ready()) == 3, "the agent is back")
    cluster.until_commits(HAND)

    record_property(FAULT, row("agent frozen", [took], 5.0))
    assert took <= 5.0 * form.room
    assert {loop: cluster.tenure(loop)[0] for loop in LOOPS} == epochs
    cluster.check_ledger()


def test_without_a_controller_loops_go_on_and_none_restarts_when_it_is_back(
    cluster: World, net: Net, form: Form, record_property: Record
) -> None:
    before = {loop: cluster.tenure(loop)[:2] for loop in LOOPS}
    cluster.kill_controller()
    begun, pauses = time.monotonic(), [0.0]
    while time.monotonic() - begun < form.fault_s:
        looked = time.monotonic()
        cluster.until_commits(FEED, timeout_s=2.0)
        cluster.until_commits(HAND, timeout_s=2.0)
        pauses.append(time.monotonic() - looked)
    record_property(FAULT, row("controller killed: 3 commits of each loop", pauses, 2.0))
    cluster.start_controller()
    cluster.until(lambda: len(cluster.ready()) == 3, "all agents are back")
    cluster.outlast_grace()

    assert {loop: cluster.tenure(loop)[:2] for loop in LOOPS} == before
    cluster.check_ledger()


def test_the_loops_of_an_agent_without_redis_commit_elsewhere_within_fifteen_seconds(
    cluster: World, net: Net, form: Form, record_property: Record
) -> None:
    name = holder(cluster)

    took = cluster.next_commit_s(FEED, lambda: net.cut_port(name, cluster.server.port))
    elsewhere = cluster.until(lambda: holder(cluster) != name, "it is placed elsewhere")
    net.heal(name)
    cluster.until(lambda: cluster.events("agent-redis-back"), "Redis answers the agent")

    record_property(FAULT, row("Redis lost for one agent", [took], 15.0))
    assert elsewhere
    assert 9.0 <= took <= 15.0 * form.room
    cluster.check_ledger()


def test_agents_that_are_stopped_one_by_one_hand_over_first(
    cluster: World, net: Net, form: Form, record_property: Record
) -> None:
    took = [0.0]
    for name in cluster.names:
        fault = partial(cluster.stop_agent, name)
        if name == holder(cluster):
            took.append(cluster.next_commit_s(FEED, fault))
        else:
            fault()
        assert cluster.await_end(name) == 0
        cluster.restart_agent(name)
    record_property(FAULT, row("agent stopped", took[1:] or took, 3.0))
    assert max(took) <= 3.0 * form.room
    cluster.check_ledger()


def test_a_bad_revision_goes_back_and_the_ledger_is_whole(cluster: World, net: Net) -> None:
    before = cluster.workflow().revision

    cluster.apply(document(middle="ledger.break", rollout={"progress_deadline": "3s"}))
    cluster.until(lambda: cluster.workflow().revision == before + 2, "it went back")
    cluster.until(lambda: cluster.workflow().rollout.state == 20, "what it went back to is healthy")

    assert cluster.workflow().rollout.returned_from == before + 1
    cluster.check_ledger()


def test_a_slow_link_that_loses_packets_moves_nothing(cluster: World, net: Net, form: Form, seed: int) -> None:
    slow = cluster.names if form.room == 1.0 else [holder(cluster)]
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(slow):
            link = SlowLink(cluster.hub, cluster.address, delay_s=0.1, jitter_s=0.05, seed=seed + number)
            cluster.via[name] = stack.enter_context(link).address
            cluster.stop_agent(name)
            cluster.await_end(name)
            cluster.restart_agent(name)
        cluster.until_commits(HAND)
        cluster.outlast_grace()
        for name in slow:
            net.lose(name, 0.05)
        before = {loop: cluster.tenure(loop)[0] for loop in LOOPS}

        begun = time.monotonic()
        while time.monotonic() - begun < form.slow_s:
            cluster.until_commits(HAND, timeout_s=30.0)

        assert {loop: cluster.tenure(loop)[0] for loop in LOOPS} == before
        for name in slow:
            net.heal(name)
            del cluster.via[name]
        cluster.check_ledger()
