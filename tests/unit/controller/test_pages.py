"""Pages of a list that changes while it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle_controller.api import pages
from treadle_controller.errors import InvalidRequest


@given(st.sets(st.text(max_size=5)), st.integers(1, 7))
def test_pages_give_everything_once_in_order(items: set[str], size: int) -> None:
    seen: list[str] = []
    token = ""
    while True:
        listed, token = pages.cut(items, str, pages.read_page(size, token, "q"))
        assert len(listed) <= size
        seen += listed
        if not token:
            break

    assert seen == sorted(items)


def test_tuples_survive_a_token() -> None:
    items = [("a", "x"), ("a", "y"), ("b", "x")]
    _, token = pages.cut(items, lambda item: item, pages.read_page(1, "", "q"))

    assert pages.cut(items, lambda item: item, pages.read_page(5, token, "q")) == (items[1:], "")


@pytest.mark.parametrize("token", ["x", "!!!!", "bnVsbA==", pages.Page(1, None, "other").token("a")])
def test_a_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        pages.read_page(10, token, "q")

    assert refused.value.field == "page_token"


def test_a_negative_size_is_refused_and_a_huge_one_capped() -> None:
    with pytest.raises(InvalidRequest):
        pages.read_page(-1, "", "q")

    assert pages.read_page(10**6, "", "q").size == 1_000
