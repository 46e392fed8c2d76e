"""One sentence that says why a loop does not run, lags or waits."""

from __future__ import annotations

from collections.abc import Mapping

from treadle.queues.stats import QueueStats
from treadle.workflow import Queue
from treadle_controller.cluster import halt
from treadle_controller.cluster.model import Desired, LoopRecord, State, Why
from treadle_controller.cluster.phase import Standing
from treadle_controller.leader.image import Image, WorkflowImage


def explain(
    image: Image, workflow: WorkflowImage, loop: LoopRecord, figures: Mapping[str, QueueStats], redis: str
) -> Why:
    """Return the most telling reason; `redis` says why the queues can't be reached, if so."""
    standing = image.loop_standing(workflow, loop)
    if loop.removed:
        return Why("removed", f"{loop.name} is no longer in the document and is being drained.")
    if redis and standing.state in (State.PENDING, State.ASSIGNED, State.BACKOFF):
        return Why("redis-unreachable", f"{loop.name} waits for the queues: {redis}.")
    if loop.desired is Desired.STOPPED and standing.state is State.STOPPED:
        if workflow.record.why_code == halt.CODE:
            again = f"`wfctl start {workflow.name}` starts it again"
            return Why(halt.CODE, f"{loop.name} is stopped: {workflow.record.why}; {again}.")
        return Why("stopped", f"{loop.name} was stopped by somebody; `wfctl start` starts it.")
    if standing.state is State.RUNNING:
        full = [name for name in loop.plan.writes if _is_full(image.queue_of(workflow, name), figures.get(name))]
        if standing.why is not None and standing.why.code == "hanging":
            return Why("hanging", f"{loop.name} runs, and {standing.why.message}; `wfctl describe loop` shows where.")
        return _running(loop, figures, full)
    return _standing(loop, standing)


def _standing(loop: LoopRecord, standing: Standing) -> Why:
    words = {
        State.PENDING: "can't be placed",
        State.ASSIGNED: "was sent to its agent, which has not answered yet",
        State.STARTING: "is starting",
        State.PAUSED: "is paused; `wfctl resume` lets it go on",
        State.DRAINING: "is being drained",
        State.BACKOFF: "failed and is about to be started again",
        State.STOPPED: "is stopped",
        State.COMPLETED: "has completed; `wfctl restart` starts it again",
        State.ERROR: "failed for good; mend the cause, then `wfctl restart`",
        State.LOST: "was on an agent that is lost",
    }
    code = standing.why.code if standing.why is not None else standing.state.name.lower()
    because = f": {standing.why.message}" if standing.why is not None else ""
    return Why(code, f"{loop.name} {words[standing.state]}{because}.")


def _running(loop: LoopRecord, figures: Mapping[str, QueueStats], full: list[str]) -> Why:
    if full:
        return Why("queue-full", f"{loop.name} waits for room in {', '.join(full)}: its readers are slower.")
    behind = [f"{name} ({figures[name].depth})" for name in loop.plan.reads if name in figures and figures[name].depth]
    if behind:
        return Why("working", f"{loop.name} runs, with messages waiting in {', '.join(behind)}.")
    if loop.plan.reads:
        return Why("idle", f"{loop.name} runs and waits for messages in {', '.join(loop.plan.reads)}.")
    return Why("running", f"{loop.name} runs.")


def _is_full(queue: Queue, stats: QueueStats | None) -> bool:
    """Whether whoever pushes to a queue has to wait."""
    limits = queue.limits
    if stats is None or limits.when_full != "block":
        return False
    messages = limits.messages is not None and stats.depth >= limits.messages
    return messages or (limits.bytes is not None and stats.bytes >= limits.bytes)
