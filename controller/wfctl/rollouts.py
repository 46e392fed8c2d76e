"""Waiting for a rollout, and saying truly what became of it."""

from __future__ import annotations

import time

from treadle.v1 import loop_pb2, workflow_pb2, workflow_service_pb2
from wfctl import rows, stalls, waiting
from wfctl.client import Client
from wfctl.errors import Conflict, NotFound, NotPlaceable, Stalled, Unhealthy
from wfctl.output import hint

_R = workflow_pb2.RolloutState


def until_healthy(client: Client, workflow: workflow_pb2.Workflow, timeout_s: float) -> workflow_pb2.Workflow:
    """Wait until a revision is healthy, and all loops of its workflow with it.

    Raises Unhealthy when it went back, is unhealthy or takes too long; NotPlaceable when no agent takes a loop;
    Conflict when another revision was applied before it was healthy; Stalled when all loops run, and one of them failed
    and does nothing more: the rollout goes on without us, and is healthy once that loop has done something well.
    """
    begun = time.monotonic()
    seen, revision = workflow, workflow.revision
    if not _is_done(seen):
        seen = _watch(client, workflow.name, revision, timeout_s)
    hint(f"{seen.name}: {len(seen.loops)} loops healthy after {time.monotonic() - begun:.2f}s")
    return seen


def _watch(client: Client, name: str, revision: int, timeout_s: float) -> workflow_pb2.Workflow:
    seen: workflow_pb2.Workflow | None = None
    stalled = stalls.Stalls()
    for seen in waiting.watch(client, name, timeout_s=timeout_s):
        if seen.revision > revision:
            _judge_replaced(client, seen, revision)
            return seen
        if seen.rollout.state == _R.ROLLOUT_STATE_UNHEALTHY:
            raise _unhealthy(f"{name}: revision {revision} is not healthy", seen.rollout.reason)
        if _is_done(seen):
            return seen
        if seen.rollout.state == _R.ROLLOUT_STATE_HEALTHY:
            waiting.refuse_failed(seen)
        still = stalled.look(seen.loops, time.monotonic())
        if still is not None and all(waiting.is_healthy(loop) for loop in seen.loops):
            raise Stalled(stalls.sentence(still))
    if seen is None:
        raise NotFound(f"there is no workflow {name!r} any more")
    raise waiting.overdue(seen, timeout_s)


def _is_done(seen: workflow_pb2.Workflow) -> bool:
    # A controller that knows no rollouts leaves the state out.
    over = seen.rollout.state in {_R.ROLLOUT_STATE_HEALTHY, _R.ROLLOUT_STATE_UNSPECIFIED}
    return over and bool(seen.loops) and all(waiting.is_healthy(loop) for loop in seen.loops)


def _judge_replaced(client: Client, seen: workflow_pb2.Workflow, number: int) -> None:
    """Raise what became of a revision that is no longer the newest, unless it was healthy."""
    request = workflow_service_pb2.GetRevisionRequest(
        namespace=client.settings.namespace, workflow=seen.name, number=number
    )
    found = client.call(client.workflows.GetRevision, request).revision
    if found.state == _R.ROLLOUT_STATE_HEALTHY:
        return
    if found.state == _R.ROLLOUT_STATE_RETURNED:
        back = f"{seen.name}: revision {number} went back, as revision {seen.revision}"
        raise _unhealthy(back, found.reason)
    raise Conflict(f"{seen.name}: revision {seen.revision} was applied before revision {number} was healthy")


def _unhealthy(sentence: str, reason: loop_pb2.Reason) -> Unhealthy | NotPlaceable:
    why = f"{sentence}: {rows.reason(reason)}"
    return NotPlaceable(why) if reason.code == "not-placeable" else Unhealthy(why)
