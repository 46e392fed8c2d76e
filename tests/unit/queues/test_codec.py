"""Payloads, messages and state values become bytes and come back."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import NodeData
from treadle.errors import MessageTooLarge, NotEncodable
from treadle.headers import MessageHeaders, passed_on
from treadle.queues.codec import (
    MESSAGE_LIMIT,
    bare,
    copy,
    decode,
    decode_batch,
    decode_item,
    encode,
    encode_item,
)
from treadle.queues.tenure import BadItem

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
PAYLOADS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(VALUES)
def test_json_like_values_and_bytes_come_back_equal(value: Any) -> None:
    assert decode(encode(value)) == value


@given(PAYLOADS, st.none() | PAYLOADS)
def test_messages_come_back_equal(payload: dict[str, Any], headers: dict[str, Any] | None) -> None:
    assert decode_item(encode_item(payload, headers)) == (payload, headers)


def test_any_mapping_is_encoded_as_one() -> None:
    odd = MappingProxyType({"inner": OrderedDict(n=1), "set": frozenset([1])})
    assert decode(encode(odd)) == {"inner": {"n": 1}, "set": [1]}
    assert bare(NodeData(odd)) is odd


@pytest.mark.parametrize("value", [object(), 2**64, {"a": print}, "\ud800", {1j: 2}])
def test_what_has_no_json_like_form_is_not_encodable(value: Any) -> None:
    with pytest.raises(NotEncodable, match="use mappings"):
        encode(value)
    with pytest.raises(NotEncodable, match="use mappings"):
        encode_item({"value": value})


def test_what_contains_itself_is_not_encodable() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotEncodable):
        encode(loop)


def test_a_message_above_the_limit_says_its_size() -> None:
    with pytest.raises(MessageTooLarge) as caught:
        encode_item({"text": "x" * MESSAGE_LIMIT})
    assert caught.value.details["bytes"] > MESSAGE_LIMIT


def test_a_copy_shares_nothing_but_headers() -> None:
    data = NodeData({"list": [1]}, {"id": "a"})
    other = copy(data)
    other["list"].append(2)
    assert (data["list"], other["list"], other.headers is data.headers) == ([1], [1, 2], True)


@given(st.lists(PAYLOADS, max_size=5))
def test_a_record_batch_is_its_items_joined(payloads: list[dict[str, Any]]) -> None:
    array = msgspec.msgpack.encode([msgspec.Raw(encode_item(payload)) for payload in payloads])
    assert decode_batch(array, len(payloads)) == [(payload, None) for payload in payloads]


def test_bad_items_of_a_record_batch_take_their_own_places() -> None:
    raws = [encode_item({"n": 1}), b"\xc0", msgspec.msgpack.encode([{"n": 2}, 5]), encode_item({"n": 3})]
    items: list[Any] = list(decode_batch(msgspec.msgpack.encode([msgspec.Raw(raw) for raw in raws]), 4))
    assert items[0] == ({"n": 1}, None)
    assert items[3] == ({"n": 3}, None)
    assert [(type(item), item.raw) for item in items[1:3]] == [(BadItem, raws[1]), (BadItem, raws[2])]


@given(st.binary())
def test_anything_else_is_bad_items_and_never_an_exception(raw: bytes) -> None:
    assert len(decode_batch(raw, 3)) == 3
    decode_item(raw)


def test_pickles_are_not_read() -> None:
    assert isinstance(decode_item(pickle.dumps([{"n": 1}, None])), BadItem)
    assert {type(item) for item in decode_batch(pickle.dumps([]), 2)} == {BadItem}


def test_a_batch_of_another_count_than_its_entry_says_is_bad() -> None:
    array = msgspec.msgpack.encode([msgspec.Raw(encode_item({}))])
    assert [item.reason for item in decode_batch(array, 2) if isinstance(item, BadItem)] == [
        "the record batch holds 1 messages, not 2"
    ] * 2


def test_headers_of_a_message_are_a_mapping_of_what_it_carried_and_where_it_lay() -> None:
    headers = MessageHeaders("ns/q/", "q", 7, {"tenant": "x", "id": "forged"})
    assert dict(headers) == {"id": "ns/q/7", "source": "q", "attempt": 1, "tenant": "x"}
    assert (len(headers), "tenant" in headers, "other" in headers, headers == dict(headers)) == (4, True, False, True)
    assert headers.origin == "ns/q/7"
    assert MessageHeaders("ns/q/", "q", 7, {"origin": "ns/p/1"}).origin == "ns/p/1"


def test_only_what_is_not_about_one_message_is_passed_on() -> None:
    assert passed_on(None) is None
    assert passed_on(MessageHeaders("ns/q/", "q", 7, None)) is None
    assert passed_on(MessageHeaders("ns/q/", "q", 7, {"origin": "a", "handle": "b", "tenant": "x"})) == {"tenant": "x"}
    assert passed_on({"id": "a", "source": "b"}) is None


def test_node_data_is_a_read_only_mapping() -> None:
    data = NodeData({"n": 1})
    assert (data["n"], data.get("m", 5), len(data), "n" in data, list(data), dict(data)) == (
        1,
        5,
        1,
        True,
        ["n"],
        {"n": 1},
    )
    assert data == {"n": 1}
    assert data.replace(m=2) == NodeData({"n": 1, "m": 2})
    with pytest.raises(AttributeError):
        data.payload = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        data["n"] = 2  # type: ignore[index]
    assert repr(data) == "NodeData({'n': 1})"
