"""The judge: which rules are asked, in which order."""

from __future__ import annotations

from collections.abc import Collection

from treadle_controller.diagnosis.idle_rules import idle
from treadle_controller.diagnosis.inquiry import Inquiry
from treadle_controller.diagnosis.running_rules import running
from treadle_controller.diagnosis.situation import LoopFacts, Situation
from treadle_controller.diagnosis.verdict import Verdict


def judge(situation: Situation, loop: str) -> Verdict:
    """Return why a loop does not run, waits or lags."""
    return _answer(Inquiry(situation, _answer, (loop,)), situation.loops[loop])


def judge_all(situation: Situation, loops: Collection[str]) -> Verdict:
    """Return the verdict of the loop that has most to tell: the first of the worst."""
    return min((judge(situation, loop) for loop in loops), key=lambda verdict: verdict.gravity)


def _answer(inquiry: Inquiry, loop: LoopFacts) -> Verdict:
    return idle(inquiry, loop) or running(inquiry, loop)
