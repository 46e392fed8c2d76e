"""Waiting until a workflow, or one of its loops, is as it should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from treadle.v1 import event_service_pb2, loop_pb2, workflow_pb2, workflow_service_pb2
from wfctl import rows, stalls
from wfctl.client import Client
from wfctl.errors import NotFound, NotPlaceable, Unhealthy, Unreachable
from wfctl.output import hint

_S = loop_pb2.LoopState
_HEALTHY: Final = frozenset({_S.LOOP_STATE_RUNNING, _S.LOOP_STATE_COMPLETED})
_AT_REST: Final = frozenset({_S.LOOP_STATE_STOPPED, _S.LOOP_STATE_COMPLETED, _S.LOOP_STATE_ERROR})
_PAUSED: Final = frozenset({_S.LOOP_STATE_PAUSED, _S.LOOP_STATE_COMPLETED, _S.LOOP_STATE_STOPPED})
_POLL_S: Final = 0.05

Goal = Callable[[loop_pb2.Loop], bool]


def is_current(loop: loop_pb2.Loop) -> bool:
    """Return whether what is known of a loop is about the epochs that were given out last."""
    return all(item.status.epoch == item.epoch for item in loop.instances)


def is_healthy(loop: loop_pb2.Loop) -> bool:
    """Return whether a loop runs, has completed, or rests as somebody wants it to."""
    if loop.desired_state == loop_pb2.DESIRED_STATE_STOPPED:
        return is_at_rest(loop)
    if loop.desired_state == loop_pb2.DESIRED_STATE_PAUSED:
        return is_paused(loop)
    return loop.state == _S.LOOP_STATE_COMPLETED or (loop.state in _HEALTHY and is_current(loop))


def is_at_rest(loop: loop_pb2.Loop) -> bool:
    """Return whether a loop takes no slot any more."""
    return loop.state in _AT_REST


def is_paused(loop: loop_pb2.Loop) -> bool:
    """Return whether a loop is paused, or has nothing to pause."""
    return loop.state in _PAUSED


def is_reborn(before: workflow_pb2.Workflow) -> Goal:
    """Return a goal: a loop is healthy, and in another life than it was before."""
    lives = {loop.name: _life(loop) for loop in before.loops}
    return lambda loop: is_healthy(loop) and _life(loop) != lives.get(loop.name)


def is_as_before(before: workflow_pb2.Workflow) -> Goal:
    """Return whether all that is known of a loop was said before: an ERROR is not yet the answer to a restart."""
    said = {loop.name: _said(loop) for loop in before.loops}
    return lambda loop: _said(loop) == said.get(loop.name)


def _said(loop: loop_pb2.Loop) -> list[tuple[int, int]]:
    return [(item.status.epoch, item.status.sequence) for item in loop.instances]


def _life(loop: loop_pb2.Loop) -> list[tuple[int, int, int]]:
    # What is told of an epoch that is over says nothing of the lives in the new one.
    return [(item.epoch, item.status.epoch, item.status.incarnation) for item in loop.instances]


# What may be reached in ERROR too.
_RESTS: Final = (is_at_rest, is_paused)


def until(
    client: Client,
    workflow: str,
    goal: Goal,
    *,
    loop: str = "",
    timeout_s: float,
    revision: int = 0,
    old: Goal | None = None,
) -> workflow_pb2.Workflow:
    """Wait until all loops (or the one, with its tails) of a workflow reach a goal, and return the workflow.

    Raises Unhealthy when the time is over or an ERROR is not an `old` one, NotPlaceable when no agent takes a loop.
    """
    seen: workflow_pb2.Workflow | None = None
    for seen in watch(client, workflow, timeout_s=timeout_s):
        chosen = _chosen(seen.loops, loop)
        if seen.revision >= revision and all(goal(item) for item in chosen):
            return seen
        wrong = [item for item in chosen if item.state == _S.LOOP_STATE_ERROR and goal not in _RESTS]
        failed = [item for item in wrong if old is None or not old(item)]
        if seen.revision >= revision and failed and all(goal(i) or i in failed for i in chosen):
            raise Unhealthy(_sentence(failed[0]))
    if seen is None:
        raise NotFound(f"there is no workflow {workflow!r} any more")
    raise _overdue([item for item in _chosen(seen.loops, loop) if not goal(item)], timeout_s)


def watch(client: Client, workflow: str, *, timeout_s: float) -> Iterator[workflow_pb2.Workflow]:
    """Yield a workflow now and whenever it changes, until the time is over; waits for a controller that restarts."""
    deadline = time.monotonic() + timeout_s
    request = event_service_pb2.WatchWorkflowRequest(namespace=client.settings.namespace, name=workflow)
    seen = False
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            for answer in client.stream(client.events.WatchWorkflow, request, timeout_s=left_s):
                seen = True
                yield answer.workflow
        except Unreachable:
            if not seen:
                raise
            time.sleep(_POLL_S)


def until_gone(client: Client, workflow: str, *, timeout_s: float) -> None:
    """Wait until a workflow is deleted. Raises Unhealthy when the time is over."""
    deadline = time.monotonic() + timeout_s
    request = workflow_service_pb2.GetWorkflowRequest(namespace=client.settings.namespace, name=workflow)
    while time.monotonic() < deadline:
        try:
            client.call(client.workflows.GetWorkflow, request)
        except NotFound:
            return
        time.sleep(_POLL_S)
    raise Unhealthy(f"{workflow} still drains after {timeout_s:g}s; see: wfctl describe workflow {workflow}")


def report(workflow: workflow_pb2.Workflow) -> None:
    """Say in one line how a workflow is."""
    states = ", ".join(f"{loop.name} {rows.loop_state(loop.state)}" for loop in workflow.loops)
    hint(f"{workflow.name}: {states}")


def refuse_failed(workflow: workflow_pb2.Workflow) -> None:
    """Raise Unhealthy when the only loops that are not healthy have failed for good."""
    ill = [loop for loop in workflow.loops if not is_healthy(loop)]
    if ill and all(loop.state == _S.LOOP_STATE_ERROR for loop in ill):
        raise Unhealthy(_sentence(ill[0]))


def overdue(workflow: workflow_pb2.Workflow, timeout_s: float) -> Unhealthy | NotPlaceable:
    """Return what to raise when a rollout takes too long."""
    ill = [loop for loop in workflow.loops if not is_healthy(loop)]
    if ill:
        return _overdue(ill, timeout_s)
    over = f"the rollout is not over after {timeout_s:g}s"
    for loop in workflow.loops:
        if (node := stalls.failing(loop)) is not None:
            name = f"{loop.workflow}/{loop.name}"
            return Unhealthy(f"{over}: {name} runs, but {stalls.what_fails(node)}; see: wfctl why {name}")
    return Unhealthy(f"{over}; see: wfctl rollout status {workflow.name}")


def _chosen(loops: Iterable[loop_pb2.Loop], name: str) -> list[loop_pb2.Loop]:
    """Return all loops, or the one with its tails."""
    return [loop for loop in loops if not name or loop.name == name or loop.name.startswith(f"{name}~")]


def _overdue(late: list[loop_pb2.Loop], timeout_s: float) -> Unhealthy | NotPlaceable:
    if not late:
        return Unhealthy(f"not done within {timeout_s:g}s; see --wait-timeout")
    first = late[0]
    if first.state == _S.LOOP_STATE_PENDING and first.reason.code:
        return NotPlaceable(_sentence(first))
    return Unhealthy(f"{_sentence(first)}, after {timeout_s:g}s; see: wfctl why {first.workflow}/{first.name}")


def _sentence(loop: loop_pb2.Loop) -> str:
    why = f": {rows.reason(loop.reason)}" if loop.reason.message else ""
    return f"{loop.workflow}/{loop.name} is {rows.loop_state(loop.state)}{why}"
