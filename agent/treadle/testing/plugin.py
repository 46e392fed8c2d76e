"""The pytest plugin: fixtures for those who test nodes and workflows. Installed with treadle, loaded by pytest itself.

    def test_orders(treadle_workflow):
        harness = treadle_workflow("orders.json", nodes=[Price])
        harness.run()
        harness.expect_pushed("priced", {"id": 1, "price": 3})

Nothing of treadle is imported before a test asks for it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from treadle.clock import DrivenClock
    from treadle.testing import LoopHarness, NodeRun, WorkflowHarness


@pytest.fixture
def treadle_clock() -> DrivenClock:
    """Return a clock that stands still until the test advances it; the other fixtures use it."""
    from treadle.clock import DrivenClock  # noqa: PLC0415 - pytest loads this module in every run

    return DrivenClock()


@pytest.fixture
def treadle_node(treadle_clock: DrivenClock) -> Callable[..., NodeRun]:
    """Return `run_node` on the test's clock."""
    from treadle.testing import run_node  # noqa: PLC0415 - pytest loads this module in every run

    def run(node: Any, *arguments: Any, **options: Any) -> NodeRun:
        return run_node(node, *arguments, clock=treadle_clock, **options)

    return run


@pytest.fixture
def treadle_workflow(treadle_clock: DrivenClock) -> Iterator[Callable[..., WorkflowHarness]]:
    """Return what starts a workflow: `treadle_workflow(document, nodes=[...])`; it is stopped after the test."""
    from treadle.testing import WorkflowHarness  # noqa: PLC0415 - pytest loads this module in every run

    with ExitStack() as stack:
        yield lambda document, **options: stack.enter_context(WorkflowHarness(document, clock=treadle_clock, **options))


@pytest.fixture
def treadle_loop(treadle_clock: DrivenClock) -> Iterator[Callable[..., LoopHarness]]:
    """Return what starts one loop: `treadle_loop(document, loop="price", nodes=[...])`."""
    from treadle.testing import LoopHarness  # noqa: PLC0415 - pytest loads this module in every run

    with ExitStack() as stack:
        yield lambda document, **options: stack.enter_context(LoopHarness(document, clock=treadle_clock, **options))
