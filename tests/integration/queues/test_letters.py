"""Dead letters go back, or away, an iteration at a time and exactly once."""

from __future__ import annotations

import pytest

from tests.queue_world import World, item, loop, polled, settle, spec
from treadle.errors import QueueError, TenureLost
from treadle.queues.letters import PAGE
from treadle.queues.tenure import DeadLetter
from treadle.workflow.plan import QueueLimits

B = loop("b")


def bury(world: World, iterations: list[tuple[str, list[tuple[str, int]]]]) -> None:
    """Push a message for each place (queue, n), and make dead letters of them, an iteration each."""
    queues = sorted({queue for _, places in iterations for queue, _ in places})
    for queue in queues:
        mine = [item(n) for _, places in iterations for q, n in places if q == queue]
        world.do(lambda admin, queue=queue, mine=mine: admin.push(queue, mine))  # type: ignore[misc]
    world.assign(B)
    host = world.host()
    reader = host.open(spec(B, reads=queues))
    for queue in queues:
        polled(reader, queue)
    numbers = dict.fromkeys(queues, 0)
    for kin, places in iterations:
        dead, reads = [], []
        for queue, n in places:
            numbers[queue] += 1
            dead.append(DeadLetter(queue, numbers[queue], item(n), {"error": "E", "iteration": kin}))
            reads.append((queue, numbers[queue], numbers[queue]))
        reader.append(reads, (), dead=dead)
    settle(reader)
    host.close(reader)


def waiting(world: World, queue: str) -> list[int]:
    return [one.item[0]["n"] for one in world.do(lambda admin: admin.peek(queue, 2_000))]


def dead(world: World, queue: str) -> int:
    count: int = world.do(lambda admin: admin.depths([queue]))[queue].dead
    assert count == world.command("XLEN", world.key(f"q:{queue}:dlq"))
    return count


def test_an_iterations_letters_go_back_together_from_all_their_queues(world: World) -> None:
    bury(world, [("i1", [("p", 1), ("q", 2)]), ("i2", [("p", 3)]), ("i3", [("q", 4), ("p", 5), ("q", 6)])])
    first = world.do(lambda admin: admin.dead_letters("p"))[0]

    assert world.do(lambda admin: admin.replay("p", first.id)) == 2
    assert world.do(lambda admin: admin.replay("p", first.id)) == 0
    assert (waiting(world, "p"), waiting(world, "q")) == ([1], [2])
    assert world.do(lambda admin: admin.replay("p", "i3")) == 3
    assert (waiting(world, "p"), waiting(world, "q")) == ([1, 5], [2, 4, 6])
    assert (dead(world, "p"), dead(world, "q")) == (1, 0)


def test_all_letters_go_back_once_and_in_order(world: World) -> None:
    count = 3 * 350
    assert count > 2 * PAGE
    assert PAGE % 3, "iterations lie across the ends of pages"
    bury(world, [(f"i{n // 3}", [("q", n + i) for i in range(3)]) for n in range(0, count, 3)])

    assert world.do(lambda admin: admin.replay("q")) == count
    assert waiting(world, "q") == list(range(count))
    assert dead(world, "q") == 0
    assert world.do(lambda admin: admin.replay("q")) == 0


def test_letters_of_strangers_stay_when_others_go_back_and_can_be_dropped(world: World) -> None:
    bury(world, [("i1", [("q", 1)])])
    world.command("XADD", world.key("q:q"), "*", "x", "y")
    world.do(lambda admin: admin.call("repair", "q"))

    assert world.do(lambda admin: admin.replay("q")) == 1
    assert dead(world, "q") == 1
    assert world.do(lambda admin: admin.drop_dead("q")) == 1
    assert dead(world, "q") == 0


def test_a_full_queue_takes_no_letters_and_keeps_them(world: World) -> None:
    bury(world, [("i1", [("q", 1), ("q", 2)]), ("i2", [("q", 3)])])
    world.do(lambda admin: admin.set_limits({"q": QueueLimits(1, None)}))

    assert world.do(lambda admin: admin.replay("q", "i2")) == 1
    with pytest.raises(QueueError) as full:
        world.do(lambda admin: admin.replay("q", "i1"))

    assert full.value.details["reason"] == "FULL"
    assert (waiting(world, "q"), dead(world, "q")) == ([3], 2)


def test_dropping_one_drops_its_whole_iteration(world: World) -> None:
    bury(world, [("i1", [("p", 1), ("q", 2)]), ("i2", [("q", 3)])])

    assert world.do(lambda admin: admin.drop_dead("q", "i1")) == 2
    assert (dead(world, "p"), dead(world, "q")) == (0, 1)


def test_a_loop_stops_when_the_dead_letters_of_its_queue_are_full(world: World) -> None:
    world.command("HSET", world.key("q:q:m"), "dead", 100_000)

    with pytest.raises(TenureLost) as lost:
        bury(world, [("i1", [("q", 1)])])
    assert lost.value.reason == "dlq-full"


def test_full_dead_letters_end_the_loop_and_its_message_stays_until_there_is_room(world: World) -> None:
    world.do(lambda admin: admin.push("q", [item(1), item(2)]))
    world.assign(B)
    host = world.host()
    reader = host.open(spec(B, reads=["q"]))
    polled(reader, "q")
    world.command("HSET", world.key("q:q:m"), "dead", 100_000)  # the most that a queue keeps
    letter = DeadLetter("q", 1, item(1), {"error": "E", "iteration": "i1"})

    reader.append((("q", 1, 1),), (), dead=[letter])

    with pytest.raises(TenureLost) as caught:
        settle(reader)
    assert caught.value.reason == "dlq-full"
    assert waiting(world, "q") == [1, 2]
    assert world.command("XLEN", world.key("q:q:dlq")) == 0
    world.command("HSET", world.key("q:q:m"), "dead", 99_999)
    host.close(reader)
    again = host.open(spec(B, reads=["q"]))
    polled(again, "q")
    again.append((("q", 1, 1),), (), dead=[letter])
    settle(again)
    assert waiting(world, "q") == [2]
    assert world.command("XLEN", world.key("q:q:dlq")) == 1
