"""Random faults against a whole simulated cluster: whatever happens, the invariants hold and it recovers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.cluster import form
from tests.chaos.cluster.faults import Kind, make_schedule
from tests.chaos.cluster.simulation import Outcome, run, shortest

_LINES = 400
_ROOT = Path(__file__).resolve().parents[3]


def test_every_invariant_holds_under_random_faults(
    minutes: float, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    played, broken = form.play_long(minutes) if minutes else form.play_short()
    took = f"{played:,} seeds from {form.first_seed()} in {time.monotonic() - began:.0f} s"
    record_property("control plane", f"{took}, {len(broken)} break an invariant")
    assert not broken, told(broken)
    assert played >= 50


def told(broken: list[Outcome]) -> str:
    """Return the seeds that fail, and of the first one the shortest schedule with its transcript."""
    seeds = ", ".join(str(outcome.schedule.seed) for outcome in broken)
    short = shortest(broken[0])
    transcript = "\n".join(short.transcript[-_LINES:])
    return f"seeds that fail: {seeds}\n{broken[0]}\n\nthe shortest of it:\n{short}\n\n{transcript}"


def test_seeds_do_something() -> None:
    outcomes = [run(make_schedule(seed)) for seed in range(1, 21)]
    assert all(outcome.commits > 100 for outcome in outcomes)
    assert any(outcome.lost for outcome in outcomes)
    assert max(outcome.recovery_s for outcome in outcomes) > 1.0


def test_drains_are_forced_and_starved_agents_lose_their_loops() -> None:
    plays = [run(make_schedule(seed, (Kind.DRAIN_FORCED, Kind.STARVED)), trace=True) for seed in range(1, 11)]
    said = "\n".join(line for play in plays for line in play.transcript)
    assert [breach for play in plays for breach in play.breaches] == []
    assert "drain-forced" in said
    assert "redis-lost" in said or "agent-starved" in said


def test_a_seed_plays_the_same_in_every_process() -> None:
    script = (
        "from tests.chaos.cluster.simulation import run; from tests.chaos.cluster.faults import make_schedule;"
        "print('\\n'.join(line for seed in (7, 23, 54) for line in run(make_schedule(seed), trace=True).transcript))"
    )
    plays = [_play(script, hash_seed) for hash_seed in ("1", "2")]
    assert plays[0] == plays[1]
    assert len(plays[0].splitlines()) > 300


def _play(script: str, hash_seed: str) -> str:
    paths = os.pathsep.join(str(_ROOT / part) for part in (".", "controller", "agent"))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
