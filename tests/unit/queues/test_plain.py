"""Plain iterations in their short form commit what the long form commits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.envelope import pack
from treadle.queues.group import Contents, Writer, arguments
from treadle.queues.plain import Plain, Short, ranges, size

WRITER = Writer("{n}:", "flow/a/0", "host", ("out",))
NUMBERS = st.integers(1, 50)
ITEMS = st.binary(min_size=1, max_size=5)


def call(group: list[Short], contents: Contents) -> bytes:
    """Return the commit of a group."""
    return pack(arguments(WRITER, (1, 1, 1, b"n"), group, contents, lambda _, first, last: last - first + 1))


@given(
    st.lists(NUMBERS, min_size=1)
    | st.lists(ITEMS, min_size=1)
    | st.lists(st.tuples(NUMBERS, st.none() | ITEMS), min_size=1)
)
def test_a_group_of_one_kind_becomes_the_commit_of_the_same_iterations_written_out(group: list[Short]) -> None:
    plain = Plain("in", "out")
    written_out = plain.whole(group)

    contents = plain.contents(group)

    assert contents is not None
    assert call(group, contents) == call(list(written_out), Contents(written_out))
    assert size(contents) == sum(iteration[5] for iteration in written_out)


def test_a_mixed_group_is_no_group_of_plain_iterations() -> None:
    plain = Plain("in", "out")

    assert plain.contents([1, b"x"]) is None
    assert plain.contents([(1, b"x"), ((("in", 2, 2),), (), None, (), False, 0)]) is None


def test_what_is_no_plain_iteration_stays_as_it_is_when_a_group_is_written_out() -> None:
    long = ((("in", 1, 3),), (("out", b"x"),), None, (), False, 1)

    assert Plain("in", "out").whole([long, 4, b"y"]) == [
        long,
        ((("in", 4, 4),), (), None, (), False, 0),
        ((), (("out", b"y"),), None, (), False, 1),
    ]


@given(st.lists(NUMBERS, min_size=1, unique=True))
def test_ranges_hold_all_numbers_in_their_order(numbers: list[int]) -> None:
    found = ranges(numbers)

    spread = [number for i in range(0, len(found), 2) for number in range(found[i], found[i + 1] + 1)]
    assert spread == numbers


def test_one_is_a_plain_iteration_or_none() -> None:
    plain = Plain("in", "out")
    assert plain.one(7) == (7, None)
    assert plain.one(b"x") == (0, b"x")
    assert plain.one((7, b"x")) == (7, b"x")
    assert plain.one((7, None)) == (7, None)
    assert plain.one(((("in", 7, 7),), (), None, (), False, 0)) is None
