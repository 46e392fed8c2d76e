"""What a harness promises to those who test with it."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.data import NodeData
from treadle.errors import ConfigError, UndeclaredQueue
from treadle.node import BlockingNode, Params
from treadle.testing import Advance, DrivenClock, LoopHarness, WorkflowHarness, run_node
from treadle.testing.failure import LoopFailedError


class Inverse(BlockingNode[Params]):
    """Divides one by n."""

    uses = "test.inverse"

    def execute(self, data: NodeData) -> NodeData:
        return data.replace(inverse=1 / data["n"])


class Forward(BlockingNode[Params]):
    """Moves messages by hand."""

    uses = "test.forward"

    async def execute(self, data: NodeData) -> None:
        popped = await self.queue_manager.pop("in", timeout=0)
        self.queue_manager.push(data["to"], {"got": None if popped is None else popped["x"]})


class Sleeper(BlockingNode[Params]):
    """Waits as long as it is told."""

    uses = "test.sleeper"

    def execute(self, data: NodeData) -> NodeData:
        began = self.context.now()
        self.context.wait(data["s"])
        return data.replace(waited=self.context.now() - began)


def node(name: str, kind: str, **data: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "data": data}


def edges(*pairs: str) -> list[dict[str, str]]:
    return [{"id": pair, "source": pair.split("-")[0], "target": pair.split("-")[1]} for pair in pairs]


def chain(uses: str, **producer: Any) -> dict[str, Any]:
    """Three loops: numbers from a timer, a calculation, and its collection."""
    timer = {"uses": "timer", "with": {"interval": "1s", "limit": 3}}
    return {
        "name": "chain",
        "nodes": [
            node("timer", "producer", **timer, **producer),
            node("out", "queue", queue="ticks"),
            node("ticks", "queue-reader", queue="ticks", pool="asyncio"),
            node("work", "blocking", uses=uses),
            node("results", "queue", queue="results", external=True),
        ],
        "edges": edges("timer-out", "out-ticks", "ticks-work", "work-results"),
    }


def test_nothing_happens_before_its_time() -> None:
    document = chain("transform")
    document["nodes"][3]["data"]["with"] = {"set": {"double": "data.n * 2"}}

    with WorkflowHarness(document) as harness:
        harness.settle()
        first = [message["double"] for message in harness.messages("results")]
        harness.advance(0.9)
        harness.advance(0.2)
        second = [message["double"] for message in harness.messages("results")]
        harness.run()
        last = [message["double"] for message in harness.messages("results")]

        assert (first, second, last) == ([0], [0, 2], [0, 2, 4])
        assert harness.completed
        assert harness.committed == {"timer": 3, "ticks": 3}
        assert harness.state("timer", "timer")["fired"]["n"] == 3
        assert harness.stats("ticks").committed == 3


def test_a_loop_that_fails_is_reported_with_its_node() -> None:
    with WorkflowHarness(chain("test.inverse"), nodes=[Inverse]) as harness:
        with pytest.raises(LoopFailedError, match="work: ZeroDivisionError") as caught:
            harness.run(5)

        assert caught.value.details["reason"]["attempts"] == 3


def test_a_document_with_errors_is_refused_with_all_of_them() -> None:
    document = chain("test.invrse")
    document["nodes"][0]["data"]["uses"] = "timr"

    with pytest.raises(ConfigError, match="unknown-node-type") as caught:
        WorkflowHarness(document, nodes=[Inverse])

    assert len([f for f in caught.value.details["findings"] if f.severity == "error"]) >= 2


def test_a_loop_can_be_run_alone() -> None:
    with LoopHarness(chain("test.inverse"), loop="ticks", nodes=[Inverse]) as harness:
        harness.push("ticks", {"n": 2}, {"n": 4})
        assert [message["inverse"] for message in harness.messages("results")] == [0.5, 0.25]

        harness.end()
        assert harness.completed


def test_a_loop_alone_waits_for_what_the_test_has_not_pushed_yet() -> None:
    with LoopHarness(chain("test.inverse"), loop="ticks", nodes=[Inverse]) as harness:
        harness.settle()
        assert not harness.completed

        harness.push("ticks", {"n": 2})
        harness.expect_pushed("results", {"n": 2, "inverse": 0.5})


def test_a_loop_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="there are"):
        LoopHarness(chain("test.inverse"), loop="absent", nodes=[Inverse])


def test_a_workflow_that_never_completes_is_a_timeout() -> None:
    document = chain("test.inverse")
    document["nodes"][0]["data"]["with"] = {"cron": "0 0 1 1 *"}

    with WorkflowHarness(document, nodes=[Inverse]) as harness, pytest.raises(TimeoutError, match="chain/timer/0"):
        harness.run(limit=60)


def test_replicas_share_their_queue() -> None:
    document = chain("transform")
    document["nodes"][2]["data"]["replicas"] = 2
    document["nodes"][0]["data"] = {"uses": "generate", "with": {"limit": 50}}

    with WorkflowHarness(document) as harness:
        harness.run()

        assert sorted(message["n"] for message in harness.messages("results")) == list(range(50))


def test_run_node_hands_a_node_its_queues() -> None:
    run = run_node(Forward, inputs=[{"to": "out"}, {"to": "out"}], queues={"in": [{"x": 1}], "out": []})

    assert run.pushed == {"in": [], "out": [{"got": 1}, {"got": None}]}


def test_run_node_refuses_queues_that_were_not_named() -> None:
    with pytest.raises(UndeclaredQueue):
        run_node(Forward, inputs=[{"to": "elsewhere"}], queues={"in": []})


def test_run_node_raises_what_the_node_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        run_node(Inverse, inputs=[{"n": 0}])


def test_a_wait_takes_driven_time_only() -> None:
    document = chain("test.sleeper")
    document["nodes"][0]["data"] = {"uses": "generate", "with": {"limit": 1, "value": {"s": 3600.0}}}
    clock = DrivenClock()

    with WorkflowHarness(document, nodes=[Sleeper], clock=clock) as harness:
        harness.settle()
        assert harness.messages("results") == []
        harness.advance(3600)
        assert [message["waited"] for message in harness.messages("results")] == [3600.0]


def test_an_advance_among_the_inputs_moves_the_clock() -> None:
    clock = DrivenClock(100.0)

    run_node(Inverse, inputs=[{"n": 1}, Advance(5), {"n": 2}], clock=clock)

    assert clock.time() == 105.0
