"""What node authors test with: one node, one loop or a whole workflow in one process, on a clock they drive.

Nothing is faked but time and the queue server: nodes run in the LoopManager that agents use. Names are loaded when
they are first used: pytest imports the plugin of this package in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "treadle.clock": ("DrivenClock",),
    "treadle.testing.expecting": ("DeadMessage",),
    "treadle.testing.failure": ("LoopFailedError",),
    "treadle.testing.faults": ("InjectedFailure",),
    "treadle.testing.harness": ("LoopHarness", "WorkflowHarness"),
    "treadle.testing.node_run": ("Advance", "NodeRun", "run_node"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        message = f"module 'treadle.testing' has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
