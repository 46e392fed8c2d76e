"""The fault suite: a short seeded form in `make test`, a long one with MINUTES (and SEED) in the environment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.chaos.queues.performing import table, verdict

SEED = int(os.environ.get("SEED") or 20_260_101)
MINUTES = float(os.environ.get("MINUTES") or 0)
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(180 + MINUTES * 60))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[str, Counter[str]] = {}
    mutants: dict[str, list[str]] = {}
    doubled: set[int] = set()
    failures: set[str] = set()  # reports of a test's three phases tell the same
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "play":
                    rows[value[0]] = Counter(value[1])
                elif name == "mutant":
                    mutants[value[0]] = value[1]
                elif name == "control":
                    doubled.add(value)
                elif name == "failure":
                    failures.add(value)
    if rows and MINUTES:
        terminalreporter.section(f"plays, SEED={SEED} MINUTES={MINUTES:g}")
        for line in [*table(dict(sorted(rows.items()))), "", *verdict(rows, mutants, sorted(doubled))]:
            terminalreporter.write_line(line)

    if failures:
        terminalreporter.section("failures of nodes")
        for line in sorted(failures):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def seed() -> int:
    """Return where all choices begin."""
    return SEED


@pytest.fixture(scope="session")
def minutes() -> float:
    """Return how long the long form lasts, 0 for the short one."""
    return MINUTES
