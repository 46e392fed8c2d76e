"""A message that ends its process: counted before it runs, and a dead letter when it goes on doing so."""

from __future__ import annotations

import dataclasses

import pytest

from tests.queue_world import World, item, loop, polled, settle, spec, take, until
from treadle.queues.codec import decode_item
from treadle.queues.redis_tenure import RedisTenure
from treadle.queues.tenure import Suspicion

A, B = loop("a"), loop("b")
PATIENT = Suspicion(suspect=("q", 4), max_deliveries=3, node="in", revision="7")


@pytest.fixture
def filled(world: World) -> World:
    """Return a world with ten messages in a queue, in one entry."""
    world.do(lambda admin: admin.enter_writers({"q": [A]}))
    world.assign(A, B)
    writer = world.host().open(spec(A, writes=["q"]))
    writer.append((), [("q", item(n)) for n in range(1, 11)])
    settle(writer)
    return world


def incarnate(world: World, suspicion: Suspicion) -> RedisTenure:
    """Open the reader in a host of its own, as after the death of the one before."""
    return world.host().open(dataclasses.replace(spec(B, reads=["q"]), suspicion=suspicion))


def alone(tenure: RedisTenure) -> list[int]:
    """Return what the next batch holds."""
    batch = polled(tenure, "q")
    return [batch.first + at for at in range(len(batch.items))]


def commit(tenure: RedisTenure, numbers: list[int]) -> None:
    """Acknowledge messages, each as an iteration of its own."""
    for number in numbers:
        tenure.append((("q", number, number),), ())


def test_a_suspect_runs_alone_after_all_before_it_has_committed(filled: World) -> None:
    tenure = incarnate(filled, PATIENT)

    first = alone(tenure)
    assert first == [1, 2, 3]
    assert tenure.poll("q") is None
    commit(tenure, first)
    assert alone(tenure) == [4]
    assert tenure.guard is not None
    commit(tenure, [4])
    assert alone(tenure) == [5, 6, 7, 8, 9, 10]
    assert tenure.guard is None


def test_a_message_that_was_delivered_too_often_is_a_dead_letter_without_being_run(filled: World) -> None:
    for _ in range(3):
        tenure = incarnate(filled, PATIENT)
        commit(tenure, alone(tenure) if filled.do(lambda admin: admin.depths(["q"]))["q"].depth == 10 else [])
        assert alone(tenure) == [4]

    tenure = incarnate(filled, PATIENT)
    assert alone(tenure)[0] == 5

    (letter,) = filled.do(lambda admin: admin.dead_letters("q"))
    assert decode_item(letter.item) == ({"n": 4}, {"origin": f"{filled.namespace}/q/4"})
    assert letter.reason["error"] == "poison"
    assert letter.reason["attempts"] == 3
    assert filled.do(lambda admin: admin.replay("q")) == 1
    commit(tenure, list(range(5, 11)))
    settle(tenure)
    assert take(tenure, "q", 1) == [4]


def test_one_incarnation_counts_a_message_once_however_often_it_is_given_back(filled: World) -> None:
    tenure = incarnate(filled, dataclasses.replace(PATIENT, suspect=("q", 1), max_deliveries=1))
    for _ in range(3):
        batch = polled(tenure, "q")
        assert batch.first == 1
        tenure.give_back(batch)


def test_after_an_end_that_nobody_saw_every_message_that_may_have_been_under_way_runs_alone(filled: World) -> None:
    careful = Suspicion(careful=True)
    before = incarnate(filled, careful)
    assert len(alone(before)) == 10

    tenure = incarnate(filled, careful)
    for number in range(1, 11):
        assert alone(tenure) == [number]
        commit(tenure, [number])
    until(tenure, lambda: tenure.poll("q") is None and tenure.guard is None)


def test_after_an_orderly_end_nothing_is_suspected(filled: World) -> None:
    careful = Suspicion(careful=True)
    host = filled.host()
    before = host.open(dataclasses.replace(spec(B, reads=["q"]), suspicion=careful))
    host.close(before)

    assert len(alone(incarnate(filled, careful))) == 10


def test_a_suspect_that_was_committed_after_all_is_none(filled: World) -> None:
    before = incarnate(filled, Suspicion())
    commit(before, alone(before))
    settle(before)

    assert incarnate(filled, PATIENT).guard is None
