"""One test's share of the programme: a single short play, or plays of rising seeds until its time is up."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.queues.play import Result
from tests.chaos.queues.programme import Piece
from tests.chaos.queues.theatre import perform

SHORT, LONG = 0.5, 3.0  # how many times the length that a piece has by itself
COLUMNS = (
    "plays",
    "messages",
    "takeovers",
    "stale commits refused",
    "stale claims refused",
    "zombies fenced",
    "answers cut",
    "duplicates answered",
    "full",
    "wrong",
)


def perform_for(piece: Piece, kind: str, folder: Path, *, seed: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """Play for some seconds, at least once; return what to put into the table, and the first violations."""
    row: Counter[str] = Counter()
    began = time.monotonic()
    wrong: list[str] = []
    while not row["plays"] or (not wrong and time.monotonic() - began < seconds):
        number = seed + row["plays"]
        result = perform(piece, kind, folder / str(number), seed=number, size=LONG if seconds else SHORT)
        row += _figures(result)
        wrong = [f"seed {number}: {sentence}" for sentence in result.violations]
        if not wrong:
            shutil.rmtree(folder / str(number))
    return row, wrong


def _figures(result: Result) -> Counter[str]:
    answers, bites = result.history.answers, result.bites
    return Counter(
        {
            "plays": 1,
            "messages": result.messages,
            "takeovers": result.takeovers,
            "stale commits refused": answers["commit FENCED"],
            "stale claims refused": answers["claim FENCED"],
            "zombies fenced": bites["zombies ended: fenced"],
            "answers cut": bites["answers cut"],
            "duplicates answered": answers["commit DUPLICATE"],
            "full": answers["commit FULL"],
            "wrong": len(result.violations),
        }
    )


def table(rows: dict[str, Counter[str]]) -> list[str]:
    """Lay figures out, with a sum at the end."""
    total: Counter[str] = Counter()
    for row in rows.values():
        total += row
    width = max(map(len, rows), default=0)
    cell: Callable[[Counter[str]], str] = lambda row: "".join(f"{row[c]:>{len(c) + 2},}" for c in COLUMNS)  # noqa: E731
    head = " " * width + "".join(f"{c:>{len(c) + 2}}" for c in COLUMNS)
    return [head, *(f"{name:<{width}}{cell(row)}" for name, row in rows.items()), f"{'all':<{width}}{cell(total)}"]


def verdict(rows: dict[str, Counter[str]], mutants: dict[str, list[str]], doubled: list[int]) -> list[str]:
    """Say in a few lines what came out: of the plays, the mutants and the control."""
    plays, wrong = (sum(row[what] for row in rows.values()) for what in ("plays", "wrong"))
    caught = [f"{name} ({', '.join(kinds)})" for name, kinds in sorted(mutants.items()) if kinds]
    missed = [name for name, kinds in mutants.items() if not kinds]
    lines = [
        f"lost, doubled, or out of order where one slot reads: {wrong or 'nothing'}, in {plays:,} plays",
    ]
    if mutants:
        lines.append(f"mutants: {len(caught)} of {len(mutants)} caught: {'; '.join(caught)}")
        lines += [f"not caught: {name}" for name in missed]
    return [*lines, *(f"the control, without transactions: {count:,} messages doubled" for count in doubled)]
