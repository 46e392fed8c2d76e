"""`self.state`: encoded when assigned, copied when read, kept or dropped with the iteration, migrated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loop.small import KEY, By, From, Small, StatefulBy
from treadle.errors import NotEncodable, StateTooLarge, UndeclaredState
from treadle.loop.state import KEY_LIMIT, NODE_LIMIT, VERSION_KEY, NodeState, NoState
from treadle.queues.codec import encode


def fresh(values: dict[str, Any] | None = None, version: int = 1) -> tuple[NodeState, list[NodeState]]:
    touched: list[NodeState] = []
    stored = {key: encode(value) for key, value in (values or {}).items()}
    return NodeState("n", stored, touched.append, version), touched


def test_get_gives_a_copy() -> None:
    state, touched = fresh({"list": [1]})
    state["list"].append(2)
    state.get("list").append(3)
    assert (state["list"], touched) == ([1], [])


def test_a_value_is_encoded_when_it_is_assigned() -> None:
    state, _ = fresh()
    value = [1]
    state["list"] = value
    value.append(2)
    assert state["list"] == [1]


def test_only_changed_keys_are_written_and_the_iteration_hears_of_it_once() -> None:
    state, touched = fresh({"a": 1, "b": 2, "c": 3})
    state["a"] = 10
    state["a"] = 11
    del state["b"]
    assert touched == [state]
    assert state.changes() == {("n", "a"): encode(11), ("n", "b"): None}
    state.keep()
    assert state.changes() == {}


def test_dropped_changes_are_undone() -> None:
    state, _ = fresh({"a": 1, "b": 2})
    state["a"], state["new"] = 10, 5
    del state["b"]
    state.drop()
    assert dict(state) == {"a": 1, "b": 2}
    assert state.changes() == {}


@given(
    st.lists(st.tuples(st.sampled_from(["set", "delete", "keep", "drop"]), st.sampled_from("abc"), st.integers(0, 9)))
)
def test_it_behaves_like_a_dict_with_savepoints(steps: list[tuple[str, str, int]]) -> None:
    state, _ = fresh()
    model: dict[str, int] = {}
    saved = dict(model)
    for verb, key, value in steps:
        if verb == "set":
            state[key] = model[key] = value
        elif verb == "delete" and key in model:
            del state[key], model[key]
        elif verb == "keep":
            state.keep()
            saved = dict(model)
        elif verb == "drop":
            state.drop()
            model = dict(saved)
        assert dict(state) == model
        assert (len(state), "a" in state) == (len(model), "a" in model)


def test_what_has_no_json_like_form_is_refused() -> None:
    state, _ = fresh()
    with pytest.raises(NotEncodable):
        state["a"] = object()
    with pytest.raises(NotEncodable):
        state[3] = 1  # type: ignore[index]
    with pytest.raises(NotEncodable):
        state[VERSION_KEY] = 1
    with pytest.raises(KeyError):
        del state["missing"]
    assert dict(state) == {}


def test_a_key_and_a_node_have_their_limits() -> None:
    state, _ = fresh()
    with pytest.raises(StateTooLarge, match="'a' of n"):
        state["a"] = b"x" * KEY_LIMIT
    chunk = b"x" * (KEY_LIMIT - 100)
    for nth in range(NODE_LIMIT // KEY_LIMIT):
        state[f"k{nth}"] = chunk
    with pytest.raises(StateTooLarge, match="the state of n"):
        state["one more"] = chunk
    state["k0"] = b""
    state["more"] = b"x" * (KEY_LIMIT - 200)


def test_a_node_that_does_not_declare_state_is_told_to() -> None:
    state = NoState("n")
    for use in (lambda: state["a"], lambda: state.get("a"), lambda: len(state), lambda: list(state)):
        with pytest.raises(UndeclaredState, match="stateful = True"):
            use()
    with pytest.raises(UndeclaredState):
        state["a"] = 1
    with pytest.raises(UndeclaredState):
        del state["a"]
    outcome = Small(From(iter([{}])), (By(lambda node, _: node.state["a"]),)).run()
    assert outcome.error is not None
    assert outcome.error.code == "undeclared-state"


class Second(StatefulBy):
    """A later version of a node."""

    state_version = 2

    def migrate(self, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        return {"total": state["sum"], "was": from_version}


def add(key: str) -> Any:
    def work(node: Any, data: Any) -> Any:
        node.state[key] = node.state.get(key, 0) + data["n"]
        return {**node.state}

    return work


def completed_once(small: Small) -> None:
    """Run a loop that is not to stay completed."""
    assert small.run().kind == "completed"
    small.host.loops[KEY].completed = False
    small.epoch += 1


def test_state_of_an_older_version_is_migrated_and_written_as_the_new_one() -> None:
    small = Small(From(iter([{"n": 4}])), (StatefulBy(add("sum")),))
    completed_once(small)
    small.producer, small.nodes = From(iter([{"n": 3}])), (Second(add("total")),)
    completed_once(small)
    assert small.out()[-1] == {"total": 7, "was": 1}
    stored = small.host.loops[KEY].state["n1"]
    assert stored == {"total": encode(7), "was": encode(1), VERSION_KEY: encode(2)}
    # The same version reads it back as it is.
    small.producer, small.nodes = From(iter([{"n": 1}])), (Second(add("total")),)
    completed_once(small)
    assert small.out()[-1] == {"total": 8, "was": 1}


def test_a_first_write_of_a_later_version_says_so() -> None:
    small = Small(From(iter([{"n": 4}])), (Second(add("total")),))
    completed_once(small)
    assert small.host.loops[KEY].state["n1"] == {"total": encode(4), VERSION_KEY: encode(2)}


def test_state_that_cannot_be_migrated_back_fails_the_loop_and_stays() -> None:
    small = Small(From(iter([{"n": 4}])), (Second(add("total")),))
    completed_once(small)
    small.producer, small.nodes = From(iter([{"n": 1}])), (StatefulBy(add("sum")),)
    outcome = small.run()
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code) == ("n1", "state-version")
    assert small.host.loops[KEY].state["n1"]["total"] == encode(4)
