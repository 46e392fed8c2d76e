"""`attempt_timeout` and `iteration_timeout`: async nodes are cancelled, for others the deadline can be seen."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from tests.unit.loop.small import By, From, Small, Started
from treadle import BlockingNode
from treadle.loop import LoopManager
from treadle.queues.codec import encode_item
from treadle.workflow.plan import RetryPolicy

LONG_S = 3600.0
ONCE = RetryPolicy(max_attempts=1)


class Slow(By):
    """Awaits its work."""

    inline = False

    async def execute(self, data: Any) -> Any:
        return await self.work(self, data)


def fed(node: BlockingNode[Any], **settings: Any) -> Small:
    small = Small(nodes=(node,), **settings)
    small.host.enter_writers({"in": ()})
    small.host.push("in", [encode_item({"n": n}) for n in range(3)])
    return small


def run(manager: LoopManager, *, as_task: bool) -> Any:
    return asyncio.run(manager.run_async()) if as_task else manager.run()


@pytest.mark.parametrize("as_task", [False, True])
def test_an_async_node_past_its_attempt_timeout_is_cancelled_and_tried_again(as_task: bool) -> None:
    cancelled: list[int] = []

    async def work(node: Any, data: Any) -> Any:
        if data["n"] == 1 and node.context.attempt == 1:
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                cancelled.append(node.context.attempt)
                raise
        return data

    small = fed(Slow(work), node_settings={"attempt_timeout_s": 0.05})
    manager, _ = small.open()
    assert run(manager, as_task=as_task).kind == "completed"
    assert (small.out(), cancelled) == ([{"n": 0}, {"n": 1}, {"n": 2}], [1])
    [incident] = manager.stats().incidents
    assert (incident.error.code, incident.error.message) == ("attempt-timeout", "n1 took longer than 0.05 s")


@pytest.mark.parametrize("as_task", [False, True])
def test_an_iteration_past_its_time_gets_no_further_attempt(as_task: bool) -> None:
    async def work(_: Any, data: Any) -> Any:
        await asyncio.sleep(LONG_S if data["n"] == 1 else 0)
        return data

    small = fed(Slow(work), settings={"iteration_timeout_s": 0.05})
    assert run(small.open()[0], as_task=as_task).kind == "completed"
    assert small.out() == [{"n": 0}, {"n": 2}]
    [letter] = small.host.queue("in").dead
    assert (letter.reason["error"], letter.reason["attempts"]) == ("iteration-timeout", 1)


def test_a_node_that_will_not_be_cancelled_has_failed_when_it_returns() -> None:
    async def work(_: Any, data: Any) -> Any:
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            return data

    small = fed(Slow(work), node_settings={"attempt_timeout_s": 0.02}, retry=ONCE)
    assert asyncio.run(small.open()[0].run_async()).kind == "completed"
    assert [letter.reason["error"] for letter in small.host.queue("in").dead] == ["attempt-timeout"] * 3


def test_cancelling_the_loop_itself_is_no_timeout() -> None:
    begun = asyncio.Event()

    async def work(*_: Any) -> Any:
        begun.set()
        await asyncio.sleep(LONG_S)

    async def cancelled() -> None:
        task = asyncio.create_task(fed(Slow(work), node_settings={"attempt_timeout_s": LONG_S}).open()[0].run_async())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_a_wait_for_a_message_is_cancelled_without_losing_the_next_ring() -> None:
    async def work(node: Any, data: Any) -> Any:
        await node.queue_manager.pop("extra", None if node.context.attempt == 1 else 0)
        return data

    small = fed(Slow(work), node_settings={"attempt_timeout_s": 0.05}, pop_queues=("extra",))
    assert small.open()[0].run().kind == "completed"
    assert len(small.out()) == 3


@pytest.mark.parametrize(
    "settings", [{"node_settings": {"attempt_timeout_s": 60.0}}, {"settings": {"iteration_timeout_s": 60.0}}]
)
def test_the_deadline_of_a_def_node_can_be_seen_from_outside(settings: dict[str, Any]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def work(_: Any, data: Any) -> Any:
        inside.set()
        assert leave.wait(10)
        return data

    manager, _ = fed(By(work), **settings).open()
    assert manager.deadline() is None
    started = Started(manager)
    assert inside.wait(10)
    deadline, activity = manager.deadline(), manager.activity()
    assert deadline is not None
    assert (deadline.node, deadline.attempt, deadline.cancels) == ("n1", 1, False)
    assert 0 < deadline.at - time.monotonic() <= 60
    assert activity is not None
    assert (activity.node, activity.attempt, activity.again_at) == ("n1", 1, None)
    assert manager.activity() == activity
    leave.set()
    assert started.outcome().kind == "completed"
    assert manager.deadline() is None


def test_a_loop_without_any_timeout_has_no_deadlines() -> None:
    manager, _ = Small(From(iter([{"n": 1}])), (By(lambda _, data: manager.deadline() or data),)).open()
    assert manager.run().kind == "completed"
