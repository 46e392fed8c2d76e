"""Why a loop does not run, waits or lags: facts in, verdict out. Pure.

The first rule that holds decides. A loop that waits for others is explained by what those do, as far as that leads.
"""

from treadle_controller.diagnosis.judge import judge, judge_all
from treadle_controller.diagnosis.situation import (
    Activity,
    LoopFacts,
    NodeFacts,
    Order,
    QueueFacts,
    ReplicaFacts,
    Situation,
)
from treadle_controller.diagnosis.verdict import Fact, Verdict

__all__ = [
    "Activity",
    "Fact",
    "LoopFacts",
    "NodeFacts",
    "Order",
    "QueueFacts",
    "ReplicaFacts",
    "Situation",
    "Verdict",
    "judge",
    "judge_all",
]
