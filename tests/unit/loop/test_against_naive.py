"""On random plans the LoopManager does what a naive interpreter does: same executions, order, messages, failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.loop.naive import History, Naive
from tests.unit.loop.scripted import (
    Produces,
    Scripted,
    ScriptedAsync,
    ScriptedInline,
    behaviour,
    contents,
    open_tenure,
    outcome,
    plans,
)
from treadle.loop import LoopManager, Outcome
from treadle.workflow.plan import Plan

SEEDS = st.integers(0, 2**32)


def in_thread(manager: LoopManager) -> Outcome:
    return manager.run()


def as_task(manager: LoopManager) -> Outcome:
    return asyncio.run(manager.run_async())


WAYS = {
    "def nodes in a thread": (Scripted, in_thread),
    "async def nodes in a thread": (ScriptedAsync, in_thread),
    "async def nodes in a task": (ScriptedAsync, as_task),
    "inline nodes in a task": (ScriptedInline, as_task),
}


def check(plan: Plan, seed: int, way: str) -> None:
    node_class, run = WAYS[way]
    produced = list(first_outputs(seed))
    expected = Naive(plan, behaviour(seed)).run(list(first_outputs(seed)))
    log: list[tuple[str, Any]] = []
    host, tenure = open_tenure(plan)
    behave = behaviour(seed)
    nodes: dict[str, Any] = {step.node: node_class(step.node, behave, log) for step in plan.steps[1:] if step.uses}
    result = run(LoopManager(plan, {"p": Produces(produced), **nodes}, tenure))
    assert as_history(log, contents(host), result) == expected


def first_outputs(seed: int) -> list[Any]:
    """Return what the producer gives out: an iteration each, of every kind."""
    import random

    dice = random.Random(seed)
    return [outcome(dice, "p", {"by": "p", "seen": [nth]}) for nth in range(4)]


def as_history(log: list[tuple[str, Any]], queues: dict[str, Any], result: Outcome) -> History:
    assert result.kind in {"completed", "failed"}, result
    if result.error is not None:
        assert result.error.code == "bad-output", result.error.traceback
    return History(log, queues, None if result.error is None else result.error.node)


@pytest.mark.parametrize("way", ["def nodes in a thread", "inline nodes in a task"])
@settings(max_examples=300)
@given(plan=plans(), seed=SEEDS)
def test_any_plan_runs_as_the_naive_interpreter_runs_it(way: str, plan: Plan, seed: int) -> None:
    check(plan, seed, way)


@pytest.mark.parametrize("way", ["async def nodes in a thread", "async def nodes in a task"])
@settings(max_examples=100)
@given(plan=plans(), seed=SEEDS)
def test_any_plan_of_async_nodes_runs_as_the_naive_interpreter_runs_it(way: str, plan: Plan, seed: int) -> None:
    check(plan, seed, way)


@pytest.mark.parametrize("way", list(WAYS))
@settings(max_examples=60)
@given(plan=plans(linear=True), seed=SEEDS)
def test_a_plan_that_is_one_line_runs_as_the_naive_interpreter_runs_it(way: str, plan: Plan, seed: int) -> None:
    check(plan, seed, way)
