"""Moves when an agent joins: few, and each for a reason."""

from __future__ import annotations

from tests.unit.controller.builders import agent, fleet, loop
from treadle_controller.cluster.fleet import Agent, Fleet
from treadle_controller.cluster.model import Assignment, LoopRecord, ReplicaId
from treadle_controller.cluster.rebalance import Move, next_move


def held(record: LoopRecord, *agents: str) -> dict[ReplicaId, Assignment]:
    return {id_: Assignment(id_, agent=name, held=True) for id_, name in zip(record.replicas, agents, strict=True)}


def cluster(*agents: Agent, **used: int) -> Fleet:
    made = fleet(*agents)
    for name, count in used.items():
        made.agents[name].used["thread"] = count
    return made


def test_replicas_that_share_a_host_spread_to_one_with_room() -> None:
    record = loop("a", replicas=3)

    move = next_move([record], held(record, "one", "one", "two"), cluster(agent("one"), agent("two"), agent("new")))

    assert move is not None
    assert (move.id, move.agent) == (ReplicaId("w", "a", 1), "new")
    assert move.why.message == "2 replicas share one, and new has room"


def test_replicas_that_are_as_even_as_can_be_stay() -> None:
    record = loop("a", replicas=3)
    assignments = held(record, "one", "one", "two")

    assert next_move([record], assignments, cluster(agent("one"), agent("two"))) is None


def test_one_loop_stays_where_it_is_however_empty_the_newcomer() -> None:
    record = loop("a")

    assert next_move([record], held(record, "one"), cluster(agent("one"), agent("new"), one=5)) is None


def test_a_full_agent_hands_a_loop_to_one_with_plenty_of_room() -> None:
    record = loop("a")

    move = next_move([record], held(record, "one"), cluster(agent("one"), agent("new"), one=9))

    assert isinstance(move, Move)
    assert move.agent == "new"


def test_what_the_newcomer_can_t_run_stays() -> None:
    record = loop("a", replicas=2)
    newcomers = (agent("new", uses=()), agent("shut", cordoned=True))

    assert next_move([record], held(record, "one", "one"), cluster(agent("one"), *newcomers)) is None


def test_a_loop_and_its_tails_stay_together() -> None:
    record = loop("a", replicas=2, tails=("a~t",))

    assert next_move([record], held(record, "one", "one"), cluster(agent("one"), agent("new"))) is None
