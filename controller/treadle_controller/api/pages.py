"""Pages: an opaque token says where the next one begins, and belongs to the question it was given for."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from treadle_controller.errors import InvalidRequest

T = TypeVar("T")
_DEFAULT: Final = 100
_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """Where to begin (after `last`, None: at the start) and how many to answer."""

    size: int
    last: Any
    question: str

    def token(self, last: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.question, last]).encode()).decode()


def read_page(page_size: int, page_token: str, question: str) -> Page:
    """Read what a request says of pages. Raises InvalidRequest."""
    if page_size < 0:
        raise InvalidRequest("page_size must not be negative", field="page_size")
    size = min(page_size or _DEFAULT, _MOST)
    if not page_token:
        return Page(size, None, question)
    try:
        asked, last = json.loads(base64.urlsafe_b64decode(page_token.encode()))
    except (ValueError, TypeError, binascii.Error) as exc:
        raise InvalidRequest("page_token is none that this controller gave out", field="page_token") from exc
    if asked != question:
        raise InvalidRequest("page_token was given out for another question", field="page_token")
    return Page(size, last, question)


def cut(items: Iterable[T], key: Callable[[T], Any], page: Page) -> tuple[list[T], str]:
    """Return one page of items, ordered by a key, and the token of the next."""
    ordered = sorted((item for item in items if page.last is None or key(item) > _like(key(item), page.last)), key=key)
    return ordered[: page.size], next_token(ordered, key, page)


def next_token(ordered: Sequence[T], key: Callable[[T], Any], page: Page) -> str:
    """Return the token after the page's last item, empty when nothing follows."""
    return page.token(key(ordered[page.size - 1])) if len(ordered) > page.size else ""


def _like(key: Any, last: Any) -> Any:
    """Return the token's key in the form of a real one: JSON knows no tuples."""
    return tuple(last) if isinstance(key, tuple) else last
