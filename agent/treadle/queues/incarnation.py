"""Taking hold of a loop: the call `incarnate` and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from treadle.errors import TenureLost
from treadle.queues.keys import Keys, limit_args
from treadle.queues.tenure import TenureSpec


class ReadFrom(NamedTuple):
    """Where reading of a queue begins."""

    queue: str
    first: int
    tail: int
    nmax: int
    counted: bool


@dataclass(slots=True)
class Incarnation:
    """What a loop is told when it opens."""

    inc: int
    seq: int
    nonce: bytes  # of the last commit
    life: str
    iteration: int
    completed: bool
    reads: tuple[ReadFrom, ...]
    unclean: bool  # the incarnation before did not let go
    nonce_root: str
    state: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def has_passed(self, queue: str, number: int) -> bool:
        """Whether a message was committed by an incarnation before."""
        return any(read.queue == queue and not read.counted and read.first > number for read in self.reads)


def request(keys: Keys, spec: TenureSpec, inc: int, nonce: str, host: str) -> tuple[Any, ...]:
    """Return the call that raises the incarnation from `inc`."""
    args: list[Any] = ["FCALL", "treadle_incarnate", 1, keys.loop(spec.key), keys.prefix, str(spec.key)]
    args += (spec.epoch, inc, nonce, host, len(spec.reads), *spec.reads, len(spec.writes))
    for queue, limit in spec.writes.items():
        args += (queue, *limit_args(limit))
    return tuple(args)


def read(answer: list[Any], spec: TenureSpec, nonce: str) -> Incarnation:
    """Read the answer. Raises TenureLost."""
    if answer[0] != b"OK":
        raise lost(answer, spec)
    _, inc, seq, last_nonce, life, iteration, completed, positions, unclean = answer
    reads = tuple(
        ReadFrom(queue, first, tail, nmax, mode == b"counted")
        for queue, (first, tail, nmax, mode, _) in zip(spec.reads, positions, strict=True)
    )
    return Incarnation(inc, seq, last_nonce, life.decode(), iteration, completed == 1, reads, unclean == 1, nonce)


def lost(answer: list[Any], spec: TenureSpec) -> TenureLost:
    """Return why a loop may not be held."""
    key = spec.key
    if answer[0] == b"BAD_TYPE":
        msg = "A key of the queues holds something else."
        return TenureLost(msg, reason="bad-type", loop=str(key), key=answer[1].decode())
    if 0 < answer[1] < spec.epoch:
        msg = "The server has lost writes: the epoch that it knows is below the one that was given out."
        return TenureLost(msg, reason="gap", loop=str(key), stored_epoch=answer[1], stored_inc=answer[2])
    msg = "The epoch of this loop is not the one in Redis."
    return TenureLost(msg, reason="fenced", loop=str(key), stored_epoch=answer[1], stored_inc=answer[2])
