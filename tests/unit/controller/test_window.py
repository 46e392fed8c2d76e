"""What a consumer was sent and has not acknowledged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.tenure import BadItem, Batch
from treadle_controller.api.window import MOST_BYTES, Window
from treadle_controller.errors import InvalidRequest

BAD = BadItem("no map", b"\x01")


def window(credits_given: int = 100) -> Window:
    return Window("default", "raw", "billing", credits_given)


def batch(first: int, *items: Any) -> Batch:
    return Batch("raw", first, [item if item is BAD else ({"n": item}, None) for item in items])


def sent(one: Window, given: Batch) -> list[tuple[int, int]]:
    return [(delivery.first, delivery.count) for delivery in one.send(given)]


def test_messages_under_way_take_room_until_they_are_acknowledged() -> None:
    one = window(10)
    assert sent(one, batch(1, 1, 2, 3, 4)) == [(1, 4)]
    assert one.room == 6

    assert one.acknowledge([(1, 3)], {}).reads == [("raw", 1, 3)]
    assert one.room == 9
    one.give(5)
    assert one.room == 14


def test_bytes_under_way_are_limited_whatever_the_credits() -> None:
    one = window(100)
    list(one.send(batch(1, "x" * MOST_BYTES)))

    assert one.room == 0
    one.acknowledge([(1, 1)], {})
    assert one.room == 100


def test_what_cannot_be_read_is_not_sent_and_goes_with_what_is_acknowledged_around_it() -> None:
    one = window()
    assert sent(one, batch(1, 1, BAD, 3)) == [(1, 1), (3, 1)]
    assert one.unreadable() is None

    done = one.acknowledge([(1, 1), (3, 3)], {})
    assert done.reads == [("raw", 1, 3)]
    assert [(letter.number, letter.reason["error"]) for letter in done.dead] == [(2, "bad-message")]


def test_what_cannot_be_read_goes_by_itself_when_it_comes_first() -> None:
    one = window()
    assert sent(one, batch(7, BAD, BAD)) == []

    gone = [one.unreadable(), one.unreadable(), one.unreadable()]
    assert [found.reads if found else None for found in gone] == [[("raw", 7, 7)], [("raw", 8, 8)], None]


@pytest.mark.parametrize("ranges", [[(2, 2)], [(1, 4)], [(1, 1), (1, 1)], [(1, 0)], [(3, 3)], [(0, 1)]])
def test_acknowledgements_out_of_order_are_refused_and_change_nothing(ranges: list[tuple[int, int]]) -> None:
    one = window(10)
    list(one.send(batch(1, 1, 2, 3)))

    with pytest.raises(InvalidRequest) as refused:
        one.acknowledge(ranges, {})
    assert refused.value.reason == "ack-out-of-order"
    assert one.acknowledge([(1, 3)], {}).reads == [("raw", 1, 3)]
    assert one.room == 10


def test_a_rejected_message_becomes_a_dead_letter_with_its_first_id() -> None:
    one = window()
    list(one.send(batch(1, 1, 2, 3)))
    one.acknowledge([(1, 1)], {})

    done = one.acknowledge([(2, 3)], {3: ("TooOld", "of last year")})
    (letter,) = done.dead
    assert (letter.number, letter.reason["type"], letter.reason["message"]) == (3, "TooOld", "of last year")
    assert msgspec.msgpack.decode(letter.item) == [{"n": 3}, {"origin": "default/raw/3"}]


def test_a_rejected_message_has_to_be_acknowledged() -> None:
    one = window()
    list(one.send(batch(1, 1, 2)))

    with pytest.raises(InvalidRequest) as refused:
        one.acknowledge([(1, 1)], {2: ("TooOld", "")})
    assert refused.value.reason == "reject-without-ack"


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.data())
def test_every_message_is_consumed_once_and_in_order(readable: list[bool], data: st.DataObject) -> None:
    one = window()
    deliveries = list(one.send(batch(1, *[n if good else BAD for n, good in enumerate(readable, 1)])))
    numbers = [n for each in deliveries for n in range(each.first, each.first + each.count)]
    read: list[int] = []

    def take(reads: Any) -> None:
        read.extend(n for _, first, last in reads for n in range(first, last + 1))

    while True:
        while (found := one.unreadable()) is not None:
            take(found.reads)
        if not numbers:
            break
        size = data.draw(st.integers(1, len(numbers)))
        take(one.acknowledge([(n, n) for n in numbers[:size]], {}).reads)
        del numbers[:size]

    assert read == list(range(1, len(readable) + 1))
    assert one.room == 100
