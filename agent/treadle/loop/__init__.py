"""The LoopManager: runs one execution plan, iteration by iteration, each of them one transaction.

    plan, nodes, tenure -> LoopManager.run() or run_async() -> Outcome

`run.py` is a loop's life; `called.py` and `fed.py` are its two hot loops (a producer is called, or a queue feeds);
`boundary.py` is where it waits and what ends it; `chain.py` executes a plan that is one line, `walk.py` any plan;
`burst.py` executes the line many times in a row while it takes some microseconds only, and `tally.py` counts that;
`iteration.py` gathers what commits together.
"""

from treadle.loop.build import build_nodes
from treadle.loop.context import NodeContext
from treadle.loop.manager import LoopManager
from treadle.loop.outcome import LoopError, Outcome
from treadle.loop.stats import Health, LoopSnapshot, NodeSnapshot

__all__ = [
    "Health",
    "LoopError",
    "LoopManager",
    "LoopSnapshot",
    "NodeContext",
    "NodeSnapshot",
    "Outcome",
    "build_nodes",
]
