"""What a reader buffers, and what its commits set free."""

from __future__ import annotations

from typing import Self, cast

from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.codec import encode_item
from treadle.queues.envelope import Entry, array
from treadle.queues.reader import Ledger, Reader
from treadle.queues.redis_tenure import RedisTenure


def entry(first: int, count: int) -> Entry:
    """Return an entry whose messages hold their numbers."""
    items = [encode_item({"n": n}) for n in range(first, first + count)]
    return Entry(first, count, array(items, sum(map(len, items))).whole())


def reader(first: int = 1, nmax: int = 0, *, counted: bool = False) -> Reader:
    """Return a reader without a tenure."""
    return Reader(cast("RedisTenure", None), "q", first, nmax, counted=counted)


def numbers(one: Reader) -> list[int]:
    """Take all that is buffered."""
    got: list[int] = []
    while (batch := one.poll()) is not None:
        assert batch.items[0][0]["n"] == batch.first
        got += [item[0]["n"] for item in batch.items]
    return got


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5000)), min_size=1, max_size=20), st.data())
def test_the_bytes_of_all_ranges_are_those_of_the_entries_whatever_the_cuts(
    spans: list[tuple[int, int]], data: st.DataObject
) -> None:
    ledger, first, total = Ledger(), 1, 0
    for count, size in spans:
        ledger.add(first, count, size)
        first, total = first + count, total + size
    cuts = sorted(data.draw(st.sets(st.integers(1, first - 1), max_size=10)) | {first - 1})

    freed, begin = 0, 1
    for cut in cuts:
        freed += ledger.weigh(begin, cut)
        ledger.settle(cut)
        begin = cut + 1

    assert freed == total


class Interrupted(int):
    """A count during whose addition another thread adds what it has just read."""

    def __new__(cls, value: int, ledger: Ledger) -> Self:
        one = super().__new__(cls, value)
        one.ledger, one.times = ledger, 0
        return one

    ledger: Ledger
    times: int

    def __radd__(self, other: int) -> int:
        self.times += 1
        if self.times < 3:
            self.ledger.add(100 * self.times, 1, 7)
        return other + int(self)


def test_messages_may_be_added_while_others_are_weighed() -> None:
    ledger = Ledger()
    ledger.add(1, count := Interrupted(10, ledger), 1000)
    ledger.add(11, 10, 500)

    assert ledger.weigh(1, 20) == 1500
    assert count.times == 3
    assert ledger.weigh(100, 200) == 14


def test_reading_begins_in_the_middle_of_an_entry() -> None:
    one = reader(first=5, nmax=10)
    assert one.cursor == b"0-1"
    assert not one.accept(entry(1, 3))
    assert one.accept(entry(4, 6))
    assert numbers(one) == [5, 6, 7, 8, 9]


def test_the_first_entry_of_an_empty_queue_is_not_skipped() -> None:
    assert reader(first=1, nmax=0).cursor == b"0-1"
    assert reader(first=8, nmax=0).cursor == b"7-1"


def test_an_entry_that_comes_twice_is_taken_once() -> None:
    one = reader()
    assert one.accept(entry(1, 3))
    assert not one.accept(entry(1, 3))
    assert numbers(one) == [1, 2, 3]


def test_what_is_given_back_comes_first_again() -> None:
    one = reader()
    one.accept(entry(1, 4))
    batch = one.poll()
    assert batch is not None
    one.returned.append(batch._replace(first=3, items=batch.items[2:]))
    assert numbers(one) == [3, 4]


def test_a_claimed_range_is_cut_out_of_its_entries() -> None:
    one = reader(counted=True)
    assert one.accept_range(3, 8, [entry(1, 4), entry(5, 2), entry(7, 9)])
    assert numbers(one) == [3, 4, 5, 6, 7, 8]


def test_a_claimed_range_with_a_hole_is_noticed() -> None:
    one = reader(counted=True)
    assert not one.accept_range(3, 8, [entry(1, 4), entry(7, 9)])


def test_a_queue_has_ended_once_its_last_message_is_committed() -> None:
    one = reader()
    one.accept(entry(1, 3))
    one.learn(4, writers_gone=True, drained=False)
    assert numbers(one) == [1, 2, 3]
    assert not one.ended
    one.committed([1, 3])
    assert one.ended
    one.never_ends = True
    assert not one.ended


def test_a_counted_queue_has_ended_only_when_no_slot_holds_anything() -> None:
    one = reader(counted=True)
    one.learn(4, writers_gone=True, drained=False)
    assert not one.ended
    one.learn(4, writers_gone=True, drained=True)
    assert one.ended
