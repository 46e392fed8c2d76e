"""What every QueueHost promises (treadle.queues.tenure, semantics.md section 3), in memory and on each server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from tests.queue_world import (
    UNBOUNDED,
    World,
    item,
    loop,
    polled,
    push,
    settle,
    spec,
    take,
    take_all,
    until,
    wait_for_end,
)
from tests.require import Require
from tests.servers import KINDS, binary_of, redis_server
from treadle.errors import TenureLost
from treadle.queues.memory import MemoryHost
from treadle.queues.tenure import BadItem, DeadLetter, LoopKey, Tenure, TenureSpec
from treadle.workflow.plan import QueueLimits

A, B, C = loop("a"), loop("b"), loop("c")


class Place(Protocol):
    """A kind of queues, as the tests use it."""

    def open(self, one: TenureSpec) -> Tenure:
        """Open a loop."""
        ...

    def close(self, tenure: Tenure) -> None:
        """Close it."""
        ...

    def enter(self, queue: str, *writers: LoopKey) -> None:
        """Enter writers."""
        ...

    def push(self, queue: str, *items: bytes) -> None:
        """Push from outside."""
        ...

    def depth(self, queue: str) -> int:
        """Return the depth of a queue."""
        ...

    def dead(self, queue: str) -> list[tuple[int, bytes]]:
        """Return number and item of dead letters."""
        ...

    def forget(self, key: LoopKey) -> None:
        """Begin a new life."""
        ...


class InMemory:
    """The queues in memory."""

    def __init__(self) -> None:
        self._host = MemoryHost("memory")

    def open(self, one: TenureSpec) -> Tenure:
        return self._host.incarnate(one)

    def close(self, tenure: Tenure) -> None:
        self._host.forget(tenure)

    def enter(self, queue: str, *writers: LoopKey) -> None:
        self._host.enter_writers({queue: writers})

    def push(self, queue: str, *items: bytes) -> None:
        self._host.push(queue, items)

    def depth(self, queue: str) -> int:
        return self._host.figures(queue).depth

    def dead(self, queue: str) -> list[tuple[int, bytes]]:
        return [(letter.number, letter.item) for letter in self._host.queue(queue).dead]

    def forget(self, key: LoopKey) -> None:
        self._host.drop_loop(key)


class InRedis:
    """The queues on a server."""

    def __init__(self, url: str) -> None:
        self._world = World(url)
        self._host = self._world.host()
        self._assigned: dict[LoopKey, int] = {}

    def open(self, one: TenureSpec) -> Tenure:
        if one.epoch > self._assigned.get(one.key, 0):
            self._world.assign(one.key, epoch=one.epoch)
            self._assigned[one.key] = one.epoch
        return self._host.open(one)

    def close(self, tenure: Tenure) -> None:
        self._host.close(tenure)

    def enter(self, queue: str, *writers: LoopKey) -> None:
        self._world.do(lambda admin: admin.enter_writers({queue: writers}))

    def push(self, queue: str, *items: bytes) -> None:
        self._world.do(lambda admin: admin.push(queue, items))

    def depth(self, queue: str) -> int:
        return self._world.do(lambda admin: admin.depths([queue]))[queue].depth

    def dead(self, queue: str) -> list[tuple[int, bytes]]:
        letters = self._world.do(lambda admin: admin.dead_letters(queue))
        return [(letter.number, letter.item) for letter in letters]

    def forget(self, key: LoopKey) -> None:
        self._world.do(lambda admin: admin.forget(key))

    def stop(self) -> None:
        self._world.stop()


@pytest.fixture(scope="session", params=["memory", *KINDS])
def make_place(request: pytest.FixtureRequest, require: Require) -> Iterator[Callable[[], Place]]:
    """Return what makes a place for a test."""
    if request.param == "memory":
        yield InMemory
        return
    require(binary_of(request.param), f"a {request.param} server")
    with redis_server(request.param) as server:
        yield lambda: InRedis(server.url)


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Iterator[Place]:
    """Return queues of one kind."""
    one = make_place()
    yield one
    if isinstance(one, InRedis):
        one.stop()


def test_messages_arrive_in_order_with_numbers_from_one(place: Place) -> None:
    writer, reader = place.open(spec(A, writes=["q"])), place.open(spec(B, reads=["q"]))
    push(writer, "q", range(3))
    batch = polled(reader, "q")
    assert (batch.queue, batch.first) == ("q", 1)
    assert batch.items[0] == ({"n": 0}, None) or list(batch.items[0]) == [{"n": 0}, None]


def test_nothing_that_was_pushed_is_seen_before_its_commit_and_all_of_it_after(place: Place) -> None:
    writer, reader = place.open(spec(A, writes=["p", "q"])), place.open(spec(B, reads=["p", "q"]))
    writer.append((), (("p", item(1)), ("q", item(2)), ("p", item(3))))
    assert take(reader, "p", 2) == [1, 3]
    assert take(reader, "q", 1) == [2]
    assert writer.committed == 1


def test_an_empty_iteration_is_not_counted_and_one_that_gave_out_an_effect_id_is(place: Place) -> None:
    tenure = place.open(spec(A))
    tenure.append((), ())
    tenure.append((), (), effects=True)
    settle(tenure)
    assert tenure.committed == 1
    assert place.open(spec(A)).iteration == 1


def test_the_next_incarnation_gets_what_was_not_committed_and_the_former_is_fenced(place: Place) -> None:
    place.push("q", *map(item, range(5)))
    former = place.open(spec(B, reads=["q"]))
    assert take(former, "q", 2) == [0, 1]
    assert take(former, "q", 1, commit=False) == [2]

    heir = place.open(spec(B, reads=["q"]))

    former.append((("q", 3, 3),), ())
    with pytest.raises(TenureLost):
        until(former, lambda: False)
    assert take(heir, "q", 3) == [2, 3, 4]


def test_a_higher_epoch_takes_over_and_a_lower_one_does_not_open(place: Place) -> None:
    place.open(spec(A, 3))
    assert place.open(spec(A, 4)).epoch == 4
    with pytest.raises(TenureLost):
        place.open(spec(A, 3))


def test_a_batch_given_back_is_polled_again_first(place: Place) -> None:
    place.push("q", *map(item, range(4)))
    reader = place.open(spec(B, reads=["q"]))
    batch = polled(reader, "q")
    reader.give_back(batch)
    assert take(reader, "q", 4) == [0, 1, 2, 3]


def test_a_loop_may_hold_many_messages_before_it_commits_any(place: Place) -> None:
    place.push("q", *map(item, range(10)))
    reader = place.open(spec(B, reads=["q"]))
    assert take(reader, "q", 10, commit=False) == list(range(10))
    reader.append([("q", n, n) for n in range(1, 11)], ())
    settle(reader)
    assert place.depth("q") == 0


def test_a_bad_item_keeps_its_place(place: Place) -> None:
    place.push("q", item(0), b"\xa3abc", item(2))
    reader = place.open(spec(B, reads=["q"]))
    got: list[object] = []
    while len(got) < 3:
        got += polled(reader, "q").items
    assert [type(one) is BadItem for one in got] == [False, True, False]


def test_state_is_stored_with_the_commit_and_only_what_changed_changes(place: Place) -> None:
    tenure = place.open(spec(A, stateful=["n"]))
    tenure.append((), (), {("n", "x"): b"1", ("n", "y"): b"2"})
    tenure.append((), (), {("n", "x"): b"3", ("n", "y"): None})
    settle(tenure)
    again = place.open(spec(A, stateful=["n"]))
    assert again.state == {"n": {"x": b"3"}}
    assert (again.iteration, again.life) == (2, tenure.life)


def test_a_new_life_has_no_state_no_iterations_and_another_name(place: Place) -> None:
    tenure = place.open(spec(A, stateful=["n"]))
    tenure.append((), (), {("n", "x"): b"1"})
    settle(tenure)
    place.close(tenure)
    place.forget(A)
    fresh = place.open(spec(A, stateful=["n"]))
    assert (fresh.state, fresh.iteration) == ({"n": {}}, 0)
    assert fresh.life != tenure.life


def test_a_queue_ends_when_its_writers_have_completed_and_all_is_committed(place: Place) -> None:
    place.enter("q", A, C)
    first, second = place.open(spec(A, writes=["q"])), place.open(spec(C, writes=["q"]))
    reader = place.open(spec(B, reads=["q"]))
    push(first, "q", [1])
    first.append((), (), completes=True)
    settle(first)
    assert take(reader, "q", 1) == [1]
    assert not reader.ended("q")

    second.append((), (("q", item(2)),))
    second.append((), (), completes=True)
    settle(second)

    assert take_all(reader, "q") == [2]
    assert second.committed == 1
    assert place.open(spec(A, writes=["q"])).completed


def test_a_queue_that_is_said_never_to_end_does_not(place: Place) -> None:
    place.enter("q", A)
    writer = place.open(spec(A, writes=["q"]))
    reader = place.open(TenureSpec(B, 1, ("q", "p"), never_ends=("q",)))
    push(writer, "q", [1])
    writer.append((), (), completes=True)
    settle(writer)
    assert take(reader, "q", 1) == [1]
    assert reader.poll("q") is None
    assert not reader.ended("q")


def test_completion_runs_down_a_chain(place: Place) -> None:
    place.enter("p", A)
    place.enter("q", B)
    first = place.open(spec(A, writes=["p"]))
    second = place.open(spec(B, reads=["p"], writes=["q"]))
    third = place.open(spec(C, reads=["q"]))
    push(first, "p", range(3))
    first.append((), (), completes=True)
    settle(first)

    for n in take_all(second, "p"):
        second.append((), (("q", item(n)),))
    second.append((), (), completes=True)
    settle(second)

    assert take_all(third, "q") == [0, 1, 2]
    wait_for_end(third, "q")


def test_a_full_queue_takes_the_room_away_and_gives_it_back(place: Place) -> None:
    writer = place.open(spec(A, writes=["q"], limits=QueueLimits(3, None)))
    reader = place.open(spec(B, reads=["q"]))
    for n in range(6):
        writer.append((), (("q", item(n)),))
    until(writer, lambda: not writer.has_room)
    assert place.depth("q") == 3

    assert take(reader, "q", 6) == list(range(6))

    settle(writer)
    until(writer, lambda: writer.has_room)


def test_one_iteration_may_overshoot_a_limit(place: Place) -> None:
    writer = place.open(spec(A, writes=["q"], limits=QueueLimits(3, None)))
    writer.append((), tuple(("q", item(n)) for n in range(10)))
    settle(writer)
    assert place.depth("q") == 10


def test_a_queue_that_drops_the_oldest_keeps_the_newest(place: Place) -> None:
    writer = place.open(spec(A, writes=["q"], limits=QueueLimits(4, None, "drop-oldest")))
    push(writer, "q", range(20))
    assert place.depth("q") == 4
    assert take(place.open(spec(B, reads=["q"])), "q", 4) == [16, 17, 18, 19]


def test_a_limit_of_iterations_in_flight_takes_the_room_away(place: Place) -> None:
    tenure = place.open(TenureSpec(A, 1, writes={"q": QueueLimits(1, None)}, max_in_flight=2))
    for n in range(3):
        tenure.append((), (("q", item(n)),))
    assert not tenure.has_room


def test_a_dead_letter_leaves_its_queue_and_takes_its_pushes_with_it(place: Place) -> None:
    place.push("q", item(0), item(1))
    reader = place.open(spec(B, reads=["q"], writes=["out"], limits=UNBOUNDED))
    polled(reader, "q")
    reader.append((("q", 1, 1),), (), dead=[DeadLetter("q", 1, item(0), {"error": "E", "iteration": "i"})])
    settle(reader)
    assert place.dead("q") == [(1, item(0))]
    assert (place.depth("q"), place.depth("out")) == (1, 0)


def test_a_wake_from_outside_ends_a_wait(place: Place) -> None:
    tenure = place.open(spec(A))
    tenure.wake()
    tenure.wait(60)
