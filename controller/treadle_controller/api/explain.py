"""Answering why: a verdict on one loop, or on the loop of a workflow that has most to tell."""

from __future__ import annotations

from treadle.v1 import loop_pb2
from treadle.v1 import loop_service_pb2 as pb
from treadle_controller.api.situations import MOST_LOOPS, full_name, gather
from treadle_controller.cluster.model import LoopRecord
from treadle_controller.diagnosis import Verdict, judge, judge_all
from treadle_controller.leader import Leader
from treadle_controller.leader.image import WorkflowImage


async def explain(leader: Leader, workflow: WorkflowImage, loop: LoopRecord | None) -> pb.ExplainLoopResponse:
    """Return why a loop, or some loop of the workflow, does not run, waits or lags."""
    if loop is not None:
        situation = await gather(leader, workflow, [loop])
        return _answer(judge(situation, full_name(workflow, loop)))
    if not workflow.loops:
        return pb.ExplainLoopResponse(sentence=f"{workflow.name} has no loops.", reason=loop_pb2.Reason(code="empty"))
    loops = _worst_first(leader, workflow)[:MOST_LOOPS]
    situation = await gather(leader, workflow, loops)
    return _answer(judge_all(situation, [full_name(workflow, one) for one in loops]))


def _worst_first(leader: Leader, workflow: WorkflowImage) -> list[LoopRecord]:
    """Return the loops, those that don't run before those that do."""
    states = {loop.name: leader.image.loop_standing(workflow, loop).state.name for loop in workflow.loops.values()}
    return sorted(workflow.loops.values(), key=lambda loop: states[loop.name] in ("RUNNING", "COMPLETED"))


def _answer(verdict: Verdict) -> pb.ExplainLoopResponse:
    return pb.ExplainLoopResponse(
        sentence=verdict.sentence,
        reason=loop_pb2.Reason(code=verdict.code, message=verdict.sentence),
        loop=verdict.loop,
        evidence=[pb.Evidence(subject=one.subject, fact=one.fact) for one in verdict.evidence],
        fix=verdict.fix,
    )
