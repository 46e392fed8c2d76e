"""Failures on purpose, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import BlockingNode, Params
from treadle.errors import ConfigError
from treadle.testing import InjectedFailure, LoopFailedError, LoopHarness


class Passes(BlockingNode[Params]):
    """Hands on what comes."""

    uses = "test.passes"

    def execute(self, data: Any) -> Any:
        return data


class PassesAsync(Passes):
    """The same, awaited."""

    uses = "test.passes-async"

    async def execute(self, data: Any) -> Any:
        return data


def document(uses: str = "test.passes", **retry: Any) -> dict[str, Any]:
    return {
        "name": "w",
        "nodes": [
            {"id": "in", "type": "queue-reader", "data": {"queue": "in", "external": True}},
            {"id": "work", "type": "blocking", "data": {"uses": uses, "retry": retry}},
            {"id": "out", "type": "queue", "data": {"queue": "out", "external": True}},
        ],
        "edges": [{"id": "a", "source": "in", "target": "work"}, {"id": "b", "source": "work", "target": "out"}],
    }


def harness(uses: str = "test.passes", **options: Any) -> LoopHarness:
    return LoopHarness(document(uses), loop="in", nodes=[Passes, PassesAsync], **options)


@pytest.mark.parametrize("uses", ["test.passes", "test.passes-async"])
def test_a_node_fails_as_often_as_it_is_told(uses: str) -> None:
    with harness(uses) as loop:
        loop.fail("work", times=2)
        loop.push("in", {"n": 1}, {"n": 2})
        loop.expect_pushed("out")
        loop.run(5)
        loop.expect_pushed("out", {"n": 1}, {"n": 2})
        loop.expect_committed(**{"in": 2})
        assert loop.stats("in").retries == 2


def test_a_dead_letter_fails_the_test_unless_it_is_kept() -> None:
    with harness() as loop:
        loop.fail("work", None)
        loop.push("in", {"n": 1})
        with pytest.raises(LoopFailedError, match="work: InjectedFailure: work was told to fail"):
            loop.run(5)

    with harness(dead_letters="keep") as loop:
        loop.fail("work", 3, TimeoutError("late"))
        loop.push("in", {"n": 1}, {"n": 2})
        loop.run(5)
        loop.expect_dead("in", {"n": 1}, error="TimeoutError")
        loop.expect_pushed("out", {"n": 2})
        assert loop.dead_letters("in")[0].reason["attempts"] == 3


def test_what_is_not_as_expected_is_told_with_both_sides() -> None:
    with harness(dead_letters="keep") as loop:
        loop.push("in", {"n": 1})
        with pytest.raises(AssertionError, match=r"out: message 1 is {'n': 1}, not {'n': 2}"):
            loop.expect_pushed("out", {"n": 2})
        with pytest.raises(AssertionError, match="out: 1 messages, not 2"):
            loop.expect_pushed("out", {"n": 1}, {"n": 2})
        with pytest.raises(AssertionError, match="dead letters of in: 0 messages, not 1"):
            loop.expect_dead("in", {"n": 1})
        with pytest.raises(AssertionError, match=r"committed iterations: {'in': 1}, not {'in': 2}"):
            loop.expect_committed(**{"in": 2})
        loop.fail("work", 3)
        loop.push("in", {"n": 3})
        loop.run(5)
        with pytest.raises(AssertionError, match="is dead for a InjectedFailure, not a KeyError"):
            loop.expect_dead("in", {"n": 3}, error="KeyError")


def test_a_node_that_is_not_there_cannot_fail() -> None:
    with pytest.raises(ConfigError, match="there is no node 'wrok' here"):
        harness().fail("wrok")
    assert InjectedFailure.code == "injected"
