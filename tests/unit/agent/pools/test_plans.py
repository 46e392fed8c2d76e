"""What ten thousand loops of one host share, and what they may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from treadle.node_config import NodeConfig
from treadle.workflow.plan import Input, Plan, Step
from treadle_agent.pools.plans import read_plan


def of(loop: str, params: dict[str, Any] | None = None) -> Plan:
    reader = Step("reader", "queue-reader", queues=(f"to-{loop}",))
    node = Step("node", "blocking", uses="file.append", params=params or {}, inputs=(Input(0, None, "in"),))
    return Plan("work", loop, (reader, node), digest="1")


def read(plan: Plan) -> Plan:
    return read_plan(msgspec.json.encode(plan))


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = of("a", {"path": "x", "nested": {"list": [1, 2.0, None, True]}})
    assert read(plan) == plan


def test_equal_steps_and_policies_are_there_once() -> None:
    one, other = read(of("a", {"path": "x"})), read(of("b", {"path": "x"}))
    assert one.steps[1] is other.steps[1]
    assert one.restart is other.restart
    assert one.steps[0] != other.steps[0]


def test_numbers_that_are_merely_equal_stay_what_they_are() -> None:
    read(of("a", {"n": 1}))
    kinds = [type(read(of("a", {"n": n})).steps[1].params["n"]) for n in (1, 1.0, True)]
    assert kinds == [int, float, bool]


def test_what_a_node_does_to_its_config_stays_its_own() -> None:
    plan = read(of("a", {"nested": {"list": [1]}}))
    NodeConfig.of(plan.steps[1]).params["nested"]["list"].append(2)
    assert read(replace(plan, loop="b")).steps[1].params == {"nested": {"list": [1]}}
