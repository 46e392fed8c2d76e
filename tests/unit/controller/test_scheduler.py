"""Which agent gets a replica, and why none can."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.controller.builders import USES, agent, fleet, plan
from treadle.workflow.plan import Placement
from treadle_controller.cluster.fleet import Agent, Liveness, Need
from treadle_controller.cluster.model import Why
from treadle_controller.cluster.scheduler import choose, need_of

NEED = need_of(plan("a"))


def test_the_least_loaded_agent_is_chosen() -> None:
    agents = fleet(agent("one"), agent("two"))
    agents.take("one", "thread")

    assert choose(agents, NEED) == "two"


def test_replicas_are_spread_and_share_only_when_there_is_no_other_agent() -> None:
    agents = fleet(agent("one"), agent("two"))
    agents.take("two", "thread")

    assert choose(agents, NEED, avoid={"one"}) == "two"
    assert choose(agents, NEED, avoid={"one", "two"}) == "one"


def test_a_replica_stays_where_it_was_even_if_others_are_less_loaded() -> None:
    agents = fleet(agent("one"), agent("two"))
    agents.take("one", "thread")

    assert choose(agents, NEED, home="one") == "one"


def test_liked_labels_come_before_load() -> None:
    agents = fleet(agent("one"), agent("two", labels={"disk": "fast"}))
    agents.take("two", "thread")
    need = need_of(plan("a", placement=Placement(prefer={"disk": "fast"})))

    assert choose(agents, need) == "two"


def test_a_loop_needs_room_for_its_tails_of_the_same_pool() -> None:
    need = need_of(plan("a"), [plan("a~b"), plan("a~c", pool="process")])
    agents = fleet(agent("one", slots=1), agent("two", slots=2))

    assert need.slots == 2
    assert choose(agents, need) == "two"


@pytest.mark.parametrize(
    ("agents", "code", "says"),
    [
        ([], "no-agent", "no agent"),
        ([agent("one", uses=())], "node-type-absent", USES),
        ([agent("one", labels={"zone": "south"})], "no-matching-labels", "zone=north"),
        ([agent("one", labels={"zone": "north"}, cordoned=True)], "no-agent-ready", "cordoned"),
        ([agent("one", labels={"zone": "north"}, liveness=Liveness.LOST)], "no-agent-ready", "not connected"),
        ([agent("one", labels={"zone": "north"}, redis_reachable=False)], "no-agent-ready", "Redis"),
        ([agent("one", labels={"zone": "north"}, slots=0)], "no-free-slot", "no free thread slot"),
    ],
)
def test_what_fits_nowhere_says_why(agents: list[Agent], code: str, says: str) -> None:
    need = need_of(plan("a", placement=Placement(labels={"zone": "north"})))

    why = choose(fleet(*agents), need)

    assert isinstance(why, Why)
    assert why.code == code
    assert says in why.message


def test_a_tail_goes_to_the_agent_of_its_loop_or_waits() -> None:
    agents = fleet(agent("one", slots=1), agent("two"))
    assert choose(agents, NEED, pinned="one") == "one"
    agents.take("one", "thread")

    why = choose(agents, NEED, pinned="one")

    assert isinstance(why, Why)
    assert why.code == "tail-waits"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 20), st.data())
def test_placing_takes_every_slot_before_it_gives_up(slots: list[int], count: int, data: Any) -> None:
    agents = fleet(*(agent(f"a{index}", slots=each) for index, each in enumerate(slots)))
    placed = 0
    for _ in range(count):
        avoid = data.draw(st.sets(st.sampled_from([f"a{i}" for i in range(len(slots))])))
        chosen = choose(agents, Need("thread", frozenset({USES})), avoid=avoid)
        if isinstance(chosen, Why):
            assert chosen.code == "no-free-slot"
            break
        agents.take(chosen, "thread")
        placed += 1

    assert placed == min(count, sum(slots))
    assert all(agents.agents[f"a{i}"].free("thread") >= 0 for i in range(len(slots)))
