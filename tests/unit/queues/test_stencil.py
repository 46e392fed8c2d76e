"""A plain commit that is filled in has the very bytes of one that is put together argument by argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from treadle.queues.envelope import MAX_ENTRY_BYTES, MAX_ENTRY_MESSAGES, pack
from treadle.queues.group import Writer, arguments
from treadle.queues.plain import Plain
from treadle.queues.stencil import Stencil

WRITER = Writer("{n}:", "flow/ä/0", "host", ("out",))
PLAIN = Plain("in", "öut")
ITEMS = st.binary(min_size=1, max_size=20)


def fill_in(taken: list[object], freed: int = 0, inc: int = 2, seq: int = 7) -> bytes | None:
    """Return what a stencil makes of a plain group."""
    contents = PLAIN.contents(taken)
    assert contents is not None
    return Stencil(WRITER, 3, *PLAIN).fill_in(inc, seq, b"nonce", len(taken), contents, freed)


def written_out(taken: list[object], freed: int = 0, inc: int = 2, seq: int = 7) -> bytes:
    """Return the same the long way."""
    contents = PLAIN.contents(taken)
    assert contents is not None
    return pack(arguments(WRITER, (3, inc, seq, b"nonce"), taken, contents, lambda *_: freed))


def numbered(first: int, items: list[bytes | None]) -> list[object]:
    """Return iterations that read messages from `first` on and push, some of them."""
    return [(first + at, item) for at, item in enumerate(items)]


@given(
    st.lists(ITEMS, min_size=1, max_size=40)
    | st.builds(lambda first, count: list(range(first, first + count)), st.integers(1, 10**15), st.integers(1, 1000))
    | st.builds(numbered, st.integers(1, 10**6), st.lists(st.none() | ITEMS, min_size=1, max_size=40)),
    st.integers(0, 10**12),
    st.integers(0, 10**6),
    st.integers(1, 10**15),
)
def test_a_plain_commit_is_the_same_bytes(taken: list[object], freed: int, inc: int, seq: int) -> None:
    assert fill_in(taken, freed, inc, seq) == written_out(taken, freed, inc, seq)


@given(
    st.lists(
        st.integers(1, 10**15)
        | st.binary(min_size=1, max_size=300)
        | st.tuples(st.integers(1, 10**15), st.none() | ITEMS),
        min_size=1,
    ),
    st.integers(0, 10**12),
    st.lists(st.integers(0, 3), min_size=1),
    st.integers(1, 10**15),
)
def test_the_commits_of_one_iteration_each_are_the_same_bytes(
    each: list[int | bytes | tuple[int, bytes | None]], freed: int, incs: list[int], seq: int
) -> None:
    stencil = Stencil(WRITER, 3, *PLAIN)
    for short, inc in zip(each, incs, strict=False):
        one = PLAIN.one(short)
        assert one is not None
        read, item = one
        taken: list[object] = [short]
        assert stencil.fill_in_one(inc, seq, b"nonce", read, freed if read else 0, item) == written_out(
            taken, freed, inc, seq
        )


def test_what_needs_several_entries_or_ranges_is_left_to_the_long_way() -> None:
    assert fill_in([b"x"] * (MAX_ENTRY_MESSAGES + 1)) is None
    assert fill_in([b"x" * (MAX_ENTRY_BYTES // 2)] * 3) is None
    assert fill_in([1, 2, 4]) is None
    assert fill_in([(1, b"x"), (3, b"y")]) is None
