"""How long the simulation plays: a few hundred seeds with the other tests, 10,000 where MINUTES says how long.

SEED is the first one; those after it follow.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import Final

from tests.chaos.cluster.simulation import Outcome, run_seed

SHORT_SEEDS: Final = 300
LONG_SEEDS: Final = 10_000
_SHORT_S: Final = 30.0
_CHUNK: Final = 50
_WORKERS: Final = 2


def first_seed() -> int:
    return int(os.environ.get("SEED") or 0)


def play_short() -> tuple[int, list[Outcome]]:
    """Play some hundred seeds, fewer on a machine that is busy; returns how many, and those that break something."""
    until = time.monotonic() + _SHORT_S
    broken, played = [], 0
    for seed in range(first_seed(), first_seed() + SHORT_SEEDS):
        if time.monotonic() > until:
            break
        played += 1
        outcome = run_seed(seed)
        if outcome.breaches:
            broken.append(outcome)
    return played, broken


def play_long(minutes: float) -> tuple[int, list[Outcome]]:
    """Play 10,000 seeds on all cores, fewer if the time is over before."""
    until = time.monotonic() + minutes * 60
    starts = iter(range(first_seed(), first_seed() + LONG_SEEDS, _CHUNK))
    broken: list[Outcome] = []
    played = 0
    with ProcessPoolExecutor(_WORKERS, mp_context=get_context("spawn")) as pool:
        under_way = {pool.submit(play_chunk, start) for start in islice(starts, _WORKERS * 2)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                broken += future.result()
                played += _CHUNK
                if time.monotonic() < until and (start := next(starts, None)) is not None:
                    under_way.add(pool.submit(play_chunk, start))
    return played, broken


def play_chunk(start: int) -> list[Outcome]:
    """Play some seeds; returns those that break something."""
    return [outcome for seed in range(start, start + _CHUNK) if (outcome := run_seed(seed)).breaches]
