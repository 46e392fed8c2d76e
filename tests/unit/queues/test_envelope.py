"""Record batches: joined without encoding twice, split by size, and recognised when they are not ours."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.queues import envelope, wire
from treadle.queues.codec import decode_batch, encode_item
from treadle.queues.envelope import Entry
from treadle.queues.tenure import BadItem


@given(st.lists(st.integers(0, 300), min_size=1, max_size=2500))
def test_items_come_back_in_order_from_entries_within_the_limits(sizes: list[int]) -> None:
    items = [encode_item({"n": n, "x": "y" * size}) for n, size in enumerate(sizes)]
    packed = envelope.entries(items, sum(map(len, items)))

    got: list[int] = []
    for count, joined in packed:
        data = joined.whole()
        assert len(data) == joined.size
        assert 0 < int(count) <= envelope.MAX_ENTRY_MESSAGES
        assert len(data) <= envelope.MAX_ENTRY_BYTES + 3
        for one in decode_batch(data, int(count)):
            assert not isinstance(one, BadItem)
            got.append(one[0]["n"])

    assert got == list(range(len(sizes)))


def test_one_item_above_the_size_of_an_entry_has_one_to_itself() -> None:
    items = [b"\xc0", b"\xc6" + (400_000).to_bytes(4, "big") + bytes(400_000), b"\xc0"]
    packed = envelope.entries(items, sum(map(len, items)))
    assert [count for count, _ in packed] == [b"1", b"1", b"1"]
    assert [msgspec.msgpack.decode(data.whole()) for _, data in packed][0::2] == [[None], [None]]


def test_an_entry_of_ours_is_read() -> None:
    assert envelope.parse([b"41-1", [b"n", b"3", b"d", b"\x93\xc0\xc0\xc0"]]) == Entry(41, 3, b"\x93\xc0\xc0\xc0")


@pytest.mark.parametrize(
    "raw",
    [
        [b"1732486800000-0", [b"n", b"1", b"d", b"\x90"]],
        [b"1-1", [b"x", b"y"]],
        [b"1-1", [b"n", b"1"]],
        [b"1-1", [b"n", b"-1", b"d", b"\x90"]],
        [b"1-1", [b"n", b"9999", b"d", b"\x90"]],
        [b"1-1", [b"n", b"1e3", b"d", b"\x90"]],
        [b"1-1", [b"n", b"0", b"d", b"\x90"]],
        [b"1-1", [b"n", b"1", b"d", b"\x90", b"e", b"f"]],
        [b"1-1", None],
    ],
)
def test_a_foreign_entry_is_not_taken_for_ours(raw: list[object]) -> None:
    assert envelope.parse(raw) is None


@given(st.lists(st.one_of(st.text(st.characters(codec="utf-8")), st.binary(), st.integers()), min_size=1))
def test_a_command_is_packed_as_hiredis_does_it(args: list[str | bytes | int]) -> None:
    assert envelope.pack(args) == wire.pack(*args)
    joined = envelope.array([b"\xc0", b"\xc3"], 2)
    assert envelope.pack([*args, joined]) == wire.pack(*args, b"\x92\xc0\xc3")
