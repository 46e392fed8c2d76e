"""Whatever a node raises, the LoopManager captures it and says where it came from."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from tests.unit.loop.small import By, From, Small, StatefulBy
from treadle import BlockingNode, LoopStopping, Params
from treadle.loop.failure import Action, Again, Failure, Place, decide
from treadle.queues.codec import encode_item
from treadle.queues.tenure import LoopKey
from treadle.workflow.plan import RetryPolicy


def leave(*_: Any) -> None:
    sys.exit(3)


def cancel(*_: Any) -> None:
    raise asyncio.CancelledError


def fail(*_: Any) -> None:
    raise ValueError("no")


def stop_iteration(*_: Any) -> None:
    raise StopIteration


@pytest.mark.parametrize("run_as", ["thread", "task"])
@pytest.mark.parametrize(
    ("work", "name"),
    [(leave, "SystemExit"), (cancel, "CancelledError"), (fail, "ValueError"), (stop_iteration, "StopIteration")],
)
def test_what_a_node_raises_fails_its_loop_and_nothing_else(run_as: str, work: Any, name: str) -> None:
    small = Small(From(iter([{"n": 1}])), (By(work),))
    manager, _ = small.open()
    outcome = manager.run() if run_as == "thread" else asyncio.run(manager.run_async())
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.node, outcome.error.type) == ("failed", "n1", name)
    assert (outcome.error.attempts, outcome.on_exhausted) == (3, "fail-loop")
    assert small.out() == []


class Leaves(BlockingNode[Params]):
    """Raises in an `async def`."""

    async def execute(self, data: Any) -> Any:
        sys.exit(3)


class SyncLeaves(BlockingNode[Params]):
    """Raises on the worker thread."""

    def execute(self, data: Any) -> Any:
        sys.exit(3)


@pytest.mark.parametrize("node_class", [Leaves, SyncLeaves])
def test_an_exit_in_a_task_is_captured_too(node_class: Any) -> None:
    manager, _ = Small(From(iter([{"n": 1}])), (node_class(Params()),)).open()
    outcome = asyncio.run(manager.run_async())
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.type) == ("n1", "SystemExit")


def test_a_producer_that_raises_fails_its_loop() -> None:
    outcome = Small(From(fail)).run()
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code, outcome.error.message) == ("p", "exception", "no")
    assert "ValueError: no" in outcome.error.traceback


def test_a_message_that_cannot_be_read_becomes_a_dead_letter_and_the_loop_goes_on() -> None:
    small = Small()
    small.host.enter_writers({"in": ()})
    small.host.push("in", [encode_item({"n": 1}), b"\x80\x04 a pickle", encode_item({"n": 3})])
    manager, tenure = small.open()
    assert manager.run().kind == "completed"
    assert (small.out(), tenure.in_flight) == ([{"n": 1}, {"n": 3}], 0)
    [letter] = small.host.queue("in").dead
    assert (letter.number, letter.item, letter.reason["error"]) == (2, b"\x80\x04 a pickle", "bad-message")
    assert (letter.reason["node"], letter.reason["attempts"]) == ("p", 1)
    assert "message 2 of in" in letter.reason["message"]


def test_a_failed_iteration_drops_state_of_all_its_nodes() -> None:
    def remember(node: Any, data: Any) -> Any:
        node.state["n"] = data["n"]
        return data

    small = Small(
        From(iter([{"n": 1}, {"n": 2}])), (StatefulBy(remember), By(lambda _, data: 1 / 0 if data["n"] == 2 else data))
    )
    assert small.run().kind == "failed"
    assert small.host.loops[LoopKey("w", "l")].state["n1"] == {"n": b"\x01"}


def test_an_error_while_closing_is_counted_and_the_outcome_stays() -> None:
    class Clings(By):
        def close(self) -> None:
            raise ValueError("stuck")

    manager, _ = Small(From(iter([{"n": 1}])), (Clings(lambda _, data: data),)).open()
    assert manager.run().kind == "completed"
    assert manager.stats().nodes[1].failures == 1


def test_only_a_wait_that_ended_because_of_the_drain_is_no_failure() -> None:
    policy, place = RetryPolicy(jitter="none"), Place(popped=True, fed=True)
    assert decide(Failure(LoopStopping(), ending=True), policy, place, chance=0) is Action.DROP
    assert decide(Failure(LoopStopping(), attempt=3), policy, place, chance=0) is Action.DEAD_LETTER
    assert decide(Failure(ValueError(), ending=True), policy, place, chance=0) == Again(0.2)


def test_a_coroutine_that_is_returned_and_not_awaited_says_what_to_do() -> None:
    async def work() -> None:
        """Never run."""

    outcome = Small(From(iter([{"n": 1}])), (By(lambda *_: work()),)).run()
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.message) == ("bad-output", "returned a coroutine: write `async def`")


def test_cancelling_the_task_closes_its_nodes() -> None:
    closed: list[str] = []
    begun = asyncio.Event()

    class Sleeps(By):
        async def execute(self, data: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        def close(self) -> None:
            closed.append("n1")

    async def cancelled() -> None:
        manager, _ = Small(From(iter([{"n": 1}])), (Sleeps(fail),)).open()
        task = asyncio.create_task(manager.run_async())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert closed == ["n1"]
