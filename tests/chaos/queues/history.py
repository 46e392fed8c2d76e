"""What a play leaves behind, as plain data: the witness's history, and a dump of what is in Redis at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Range = tuple[int, int]  # first and last


class Output(NamedTuple):
    """What a commit pushed to one queue."""

    queue: str
    first: int
    messages: int
    last_iteration: int  # messages of the commit's last iteration, which alone may overshoot a limit
    depth: int  # of the queue, afterwards
    limit: int  # -1: none
    counted: int  # by how much the queue's tail rose


class Commit(NamedTuple):
    """A commit that Redis accepted: as whom, and who held the loop at that moment."""

    loop: str
    epoch: int
    inc: int
    stored_epoch: int
    stored_inc: int
    seq: int
    nonce: str
    completes: bool
    reads: tuple[tuple[str, tuple[Range, ...]], ...]
    outputs: tuple[Output, ...]


class Claim(NamedTuple):
    """A claim that Redis accepted."""

    loop: str
    epoch: int
    inc: int
    stored_epoch: int
    stored_inc: int
    queue: str
    first: int
    last: int


class Purge(NamedTuple):
    """What a purge dropped."""

    queue: str
    first: int
    last: int


class Line(NamedTuple):
    """One line of the ledger."""

    n: int
    value: int
    by: str  # tag of the incarnation of the source
    number: int  # in `in`
    through: str  # tag of the incarnation of the transform
    second: int  # number in `out`


class QueueDump(NamedTuple):
    """The figures of a queue at the end."""

    next: int
    tail: int
    held: int
    done: int
    dropped: int
    foreign: int  # dead letters that treadle did not write and that say so; -1: there are others


@dataclass(slots=True)
class History:
    """Everything in the order in which Redis did it."""

    commits: list[Commit] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    purges: list[Purge] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)  # "commit FENCED" -> how often

    @classmethod
    def read(cls, records: Iterable[Mapping[str, Any]], answers: Mapping[str, int]) -> History:
        """Read the witness's records."""
        history = cls(answers=Counter(answers))
        for record in records:
            match record["k"]:
                case "commit":
                    history.commits.append(_commit(record))
                case "claim":
                    fence = (record["e"], record["i"], record["se"], record["si"])
                    history.claims.append(Claim(record["l"], *fence, record["q"], record["from"], record["to"]))
                case "purge" if record["to"] >= record["from"]:
                    history.purges.append(Purge(record["q"], record["from"], record["to"]))
        return history


def _commit(record: Mapping[str, Any]) -> Commit:
    reads = tuple((queue, tuple(zip(ends[::2], ends[1::2], strict=True))) for queue, *ends in record["r"] or ())
    outputs = tuple(Output(*out) for out in record["o"] or ())
    fence = (record["e"], record["i"], record["se"], record["si"])
    return Commit(record["l"], *fence, record["s"], record["n"], record["x"] == 1, reads, outputs)


@dataclass(slots=True)
class Dump:
    """What is there when the play is over."""

    ledger: list[Line]
    strange: int  # lines of the ledger that can't be read
    queues: dict[str, QueueDump]
    sums: int | None  # the transform's states together; None when it kept none


@dataclass(frozen=True, slots=True)
class Expected:
    """What was played."""

    total: int
    keeps_ledger: bool = True
    in_order: bool = True  # one slot reads each queue, all the time
    entries_by_hand: int = 0
