"""The whole table of failures: each in every pool, with every `on_exhausted`: `make chaos`, with MINUTES.

`make test` plays a sample, in integration/agent. Here times are judged as well: what the innocent loop and the
supervisor may take is in the table's design, and what the machine itself withheld from a bystander comes on top.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.integration.agent.conftest import redis_url
from tests.integration.agent.play import Facts, Stands
from tests.integration.agent.table import POLICIES, POOLS, ROWS, Row
from treadle.workflow.plan import OnExhausted, Pool

__all__ = ["redis_url"]  # a fixture

Play = Callable[[Row, Pool, OnExhausted], Facts]
HEARTBEAT_S = 1.0

pytestmark = pytest.mark.skipif("MINUTES" not in os.environ, reason="the long form: make chaos")


@pytest.fixture(scope="module")
def play(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    stands = Stands(redis_url, tmp_path_factory.mktemp("failures"))
    yield stands.play
    stands.close()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("pool", POOLS)
def test_a_node_that_misbehaves_harms_its_own_message_only(
    play: Play, record_property: Callable[[str, object], None], pool: Pool, row: Row, policy: OnExhausted
) -> None:
    facts = play(row, pool, policy)

    record_property("failure", facts.line())
    assert facts.silence_s <= HEARTBEAT_S + 2 * facts.late_s
    assert facts.pause_s <= facts.most_pause_s + 2 * facts.late_s
