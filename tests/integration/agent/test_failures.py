"""Whatever a node does to its process: its message is a dead letter or gets through, and nobody else pays.

The short form: a sample of the table, each failure in one pool at least; tests/chaos/agents plays all of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.integration.agent.play import Stands
from tests.integration.agent.table import POLICIES, POOLS, ROWS, Kind, Row
from treadle.workflow.plan import OnExhausted, Pool

SEED = 4
QUICK = tuple(row for row in ROWS if row.kind not in (Kind.STALL, Kind.IMPORT) and row.shared is not Kind.STALL)
STALL = next(row for row in ROWS if row.shared is Kind.STALL)


@dataclass(frozen=True)
class Play:
    """One of the sample."""

    pool: Pool
    row: Row
    policy: OnExhausted


def sample() -> list[Play]:
    """Return each quick failure once, in a pool and with a policy by chance, each policy with one that it decides
    about, and one stall; in order of the pools."""
    dice = random.Random(SEED)
    chosen = [Play(dice.choice(POOLS), row, dice.choice(POLICIES)) for row in QUICK]
    chosen += [Play(dice.choice(POOLS), QUICK[0], policy) for policy in POLICIES]
    chosen.append(Play("thread", STALL, "dead-letter"))
    return sorted(dict.fromkeys(chosen), key=lambda one: POOLS.index(one.pool))


@pytest.fixture(scope="module")
def play(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Row, Pool, OnExhausted], object]]:
    stands = Stands(redis_url, tmp_path_factory.mktemp("failures"))
    yield stands.play
    stands.close()


@pytest.mark.parametrize("one", sample(), ids=lambda one: f"{one.row.name}-{one.pool}-{one.policy}")
def test_a_node_that_misbehaves_harms_its_own_message_only(
    play: Callable[[Row, Pool, OnExhausted], object], one: Play
) -> None:
    play(one.row, one.pool, one.policy)
