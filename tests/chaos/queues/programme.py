"""The programme: which faults at which moments, and what must have bitten for a play not to be vacuous."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.chaos.queues import contents, servers, takeovers
from tests.chaos.queues.play import Fault, Result, Script

Schedule = list[tuple[float, Fault]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A kind of play."""

    name: str
    script: Script
    schedule: Callable[[random.Random, float], Schedule]  # the number is how many times the short form
    must_bite: tuple[str, ...] = ()
    proxied: bool = False
    aof: str = "off"


def _times(count: int, fault: Fault, rng: random.Random, low: float = 0.02, high: float = 0.9) -> Schedule:
    return [(rng.uniform(low, high), fault) for _ in range(count)]


def _takeovers(rng: random.Random, size: float) -> Schedule:
    return [*_times(int(14 * size), takeovers.takeover, rng), (0.5, contents.rest)]


def _cut_answers(rng: random.Random, size: float) -> Schedule:
    return _times(int(6 * size), takeovers.takeover, rng) + _times(int(14 * size), servers.cut, rng)


def _replicas(rng: random.Random, size: float) -> Schedule:
    scaling = [(0.15, 3), (0.35, 1), (0.5, 2), (0.6, 3), (0.75, 1)]
    moves: Schedule = [(at, takeovers.scale_to(slots)) for at, slots in scaling]
    return moves + _times(int(5 * size), takeovers.takeover, rng) + _times(int(4 * size), servers.cut, rng)


def _full(rng: random.Random, size: float) -> Schedule:
    waiting = _times(int(2 * size), contents.kill_waiting_producer, rng)
    waiting += _times(int(2 * size), contents.kill_waiting_transform, rng)
    return waiting + _times(int(3 * size), takeovers.takeover, rng)


def _purges(rng: random.Random, size: float) -> Schedule:
    return _times(int(8 * size), contents.purge, rng) + _times(int(3 * size), takeovers.takeover, rng)


def _server_dies(rng: random.Random, size: float) -> Schedule:
    deaths = _times(int(2 * size), servers.restart, rng, 0.1, 0.6)
    return deaths + _times(int(2 * size), servers.flush_functions, rng, 0.1, 0.8) + _times(2, takeovers.takeover, rng)


def _rolls_back(rng: random.Random, size: float) -> Schedule:
    schedule: Schedule = [(0.2, servers.remember), (0.3, servers.restore)]
    return schedule + _times(int(2 * size), servers.cut_aof, rng, 0.4, 0.7) + _times(2, takeovers.takeover, rng)


def _no_memory(rng: random.Random, size: float) -> Schedule:
    return _times(int(2 * size), servers.starve, rng, 0.1, 0.7) + _times(2, takeovers.takeover, rng)


def _by_hand(rng: random.Random, size: float) -> Schedule:
    schedule = _times(2, contents.forge, rng, 0.1, 0.4)
    for kind in contents.ENTRIES:
        schedule += _times(max(1, int(2 * size)), contents.meddle(kind), rng)
    return schedule


_FENCED = ("rests", "commit FENCED", "ghosts: commit FENCED", "ghosts: commit CONFLICT", "zombies ended: fenced")

TAKEOVERS = Piece("takeovers", Script(1, 8000), _takeovers, _FENCED)
LOST_ANSWERS = Piece("lost answers", Script(2, 6000), _cut_answers, ("commit DUPLICATE", "answers cut"), proxied=True)
REPLICAS = Piece(
    "replicas 1-3-1",
    Script(3, 8000, limit=3000, sums=True),
    _replicas,
    ("claim OK", "commit FENCED", "claim FENCED", "scaled to 3", "scaled to 1"),
    proxied=True,
)
FULL = Piece(
    "full queues", Script(4, 4000, limit=40), _full, ("commit FULL", "producers killed while they waited: source")
)
PURGES = Piece("purges", Script(5, 8000, limit=2000), _purges, ("purge OK", "commit SHIFTED"))
SERVER_DIES = Piece(
    "server killed",
    Script(6, 4000),
    _server_dies,
    ("server restarts", "calls without functions"),
    aof="always",
)
ROLLS_BACK = Piece(
    "server rolled back",
    Script(7, 8000, may_roll_back=True),
    _rolls_back,
    ("rolled back", "older snapshots", "bytes cut from the log"),
    aof="everysec",
)
NO_MEMORY = Piece(
    "no memory", Script(8, 8000, ledger=False), _no_memory, ("calls without memory", "drained without memory")
)
BY_HAND = Piece(
    "entries by hand",
    Script(9, 6000, may_fail=True),
    _by_hand,
    ("by hand: forged", *(f"by hand: {kind}" for kind in contents.ENTRIES)),
)

PIECES = (TAKEOVERS, LOST_ANSWERS, REPLICAS, FULL, PURGES, SERVER_DIES, ROLLS_BACK, NO_MEMORY, BY_HAND)


def toothless(piece: Piece, result: Result) -> list[str]:
    """Return the faults that did not bite."""
    seen = result.bites + result.history.answers
    return [f"vacuous: no {what}" for what in piece.must_bite if not seen[what]]


def sized(piece: Piece, seed: int, size: float) -> Piece:
    """Return a piece for another seed, longer or shorter."""
    return replace(piece, script=replace(piece.script, seed=seed, total=int(piece.script.total * size)))
