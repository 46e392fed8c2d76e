"""What node authors test with: one node, one loop or a whole workflow in one process, on a clock they drive.

Nothing is faked but time and the queue server: nodes run in the LoopManager that agents use.
"""

from treadle.clock import DrivenClock
from treadle.testing.expecting import DeadMessage
from treadle.testing.failure import LoopFailedError
from treadle.testing.faults import InjectedFailure
from treadle.testing.harness import LoopHarness, WorkflowHarness
from treadle.testing.node_run import Advance, NodeRun, run_node

__all__ = [
    "Advance",
    "DeadMessage",
    "DrivenClock",
    "InjectedFailure",
    "LoopFailedError",
    "LoopHarness",
    "NodeRun",
    "WorkflowHarness",
    "run_node",
]
