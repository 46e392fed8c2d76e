"""`self.context`: what a node knows of where it runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.unit.loop.small import By, From, Small
from treadle import NodeData
from treadle.queues.codec import encode_item
from treadle.queues.tenure import LoopKey


def test_names_of_everything_around_a_node() -> None:
    seen: list[Any] = []

    def look(node: Any, data: Any) -> Any:
        context = node.context
        names = ("namespace", "workflow", "loop", "replica", "node", "epoch", "attempt", "message_id", "stopping")
        seen.append({name: getattr(context, name) for name in names})
        return data

    assert Small(From(iter([{}])), (By(look),)).run().kind == "completed"
    assert seen == [
        {
            "namespace": "ns",
            "workflow": "w",
            "loop": "l",
            "replica": 0,
            "node": "n1",
            "epoch": 1,
            "attempt": 1,
            "message_id": None,
            "stopping": False,
        }
    ]


def test_log_records_say_where_they_are_from(caplog: pytest.LogCaptureFixture) -> None:
    def log(node: Any, data: Any) -> Any:
        node.context.logger.warning("seen %s", data["n"])
        return data

    with caplog.at_level(logging.WARNING, "treadle.node"):
        Small(From(iter([{"n": 1}])), (By(log),)).run()
    (record,) = caplog.records
    fields = {name: getattr(record, name) for name in ("namespace", "workflow", "loop", "replica", "node")}
    assert record.getMessage() == "seen 1"
    assert fields == {"namespace": "ns", "workflow": "w", "loop": "l", "replica": 0, "node": "n1"}


def test_a_tracer_is_there() -> None:
    def trace(node: Any, data: Any) -> Any:
        with node.context.tracer.start_as_current_span("work"):
            return data

    assert Small(From(iter([{}])), (By(trace),)).run().kind == "completed"


def test_an_inline_node_may_poll_but_not_wait_on_the_event_loop() -> None:
    def pop(node: Any, data: Any) -> Any:
        assert node.queue_manager.pop("other", 0) is None
        node.queue_manager.pop("other", 5)
        return data

    small = Small(From(iter([{}])), (By(pop),), pop_queues=("other",))
    outcome = asyncio.run(small.open()[0].run_async())
    assert outcome.error is not None
    assert (outcome.error.node, outcome.error.code) == ("n1", "bad-config")
    assert "inline" in outcome.error.message


def test_headers_of_a_message_are_read_only_data_beside_the_payload() -> None:
    small = Small(nodes=(By(lambda _, data: NodeData({"headers": dict(data.headers)}, data.headers)),))
    small.host.enter_writers({"in": [LoopKey("w", "other")]})
    small.host.push("in", [encode_item({"n": 1}, {"tenant": "x"})])
    small.host.queue("in").writers.clear()
    assert small.run().kind == "completed"
    assert small.out() == [{"headers": {"id": "ns/in/1", "source": "in", "attempt": 1, "tenant": "x"}}]
