"""The whole table of failures, pool by pool: `make chaos`. `make test` plays the short form, in integration/agent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.agent.conftest import controller, redis_url, start_agent
from tests.integration.agent.process import AgentProcess
from tests.integration.agent.scripted import ScriptedController
from tests.integration.agent.table import LONG, NODES, POOLS, SHORT, Row, play
from treadle.workflow.plan import Pool

__all__ = ["controller", "redis_url", "start_agent"]  # fixtures

Start = Callable[..., AgentProcess]

pytestmark = pytest.mark.skipif("MINUTES" not in os.environ, reason="the long form: make chaos")


@pytest.mark.parametrize("row", [row for row in LONG if row not in SHORT], ids=lambda row: row.how)
@pytest.mark.parametrize("pool", POOLS)
def test_a_node_that_misbehaves_harms_its_own_message_only(
    controller: ScriptedController,
    start_agent: Start,
    tmp_path: Path,
    row: Row,
    pool: Pool,
) -> None:
    agent = start_agent("--nodes", NODES)

    play(row, pool, controller, agent, tmp_path)

    assert agent.terminate() == 0
    assert agent.gone()
