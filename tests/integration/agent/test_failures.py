"""Whatever a node does to its process: its message is a dead letter or gets through, and nobody else pays.

The short form; tests/chaos/agents plays the whole table.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import LEAK, NODES, POOLS, SHORT, Row, play
from treadle.workflow.plan import Pool

Start = Callable[..., AgentProcess]


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.how)
@pytest.mark.parametrize("pool", POOLS)
def test_a_node_that_misbehaves_harms_its_own_message_only(
    controller: ScriptedController, start_agent: Start, tmp_path: Path, row: Row, pool: Pool
) -> None:
    agent = start_agent("--nodes", NODES)

    play(row, pool, controller, agent, tmp_path)

    assert agent.terminate() == 0
    assert agent.gone()


def test_a_node_that_takes_all_memory_gets_no_more_than_its_limit(
    controller: ScriptedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent("--nodes", NODES)

    play(LEAK, "process", controller, agent, tmp_path)

    assert agent.terminate() == 0
    assert agent.gone()
