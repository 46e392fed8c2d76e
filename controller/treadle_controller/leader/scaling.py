"""Whether a loop may have several replicas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from treadle.workflow.node_type import NodeType
from treadle.workflow.plan import Plan
from treadle_controller.cluster.model import Why


def obstacle(plan: Plan, tails: Iterable[Plan], node_types: Mapping[str, NodeType]) -> Why | None:
    """Return why a loop can't have replicas beside its first, None when it can."""
    if plan.tail_of is not None:
        root = root_of(plan.loop)
        return Why("bad-replicas", f"{plan.loop} is a tail: it has as many replicas as its loop; scale {root}")
    if plan.steps[0].kind != "queue-reader":
        return Why("bad-replicas", f"{plan.loop} can't have replicas: its producer is no queue-reader")
    for step in (step for one in (plan, *tails) for step in one.steps if step.uses is not None):
        found = node_types.get(step.uses or "")
        if found is not None and found.stateful:
            return Why("bad-replicas", f"{plan.loop} can't have replicas: {step.node} ({step.uses}) keeps state")
    return None


def root_of(loop: str) -> str:
    """Return the loop that a tail belongs to in the end; a loop that is no tail is its own."""
    return loop.split("~", 1)[0]
