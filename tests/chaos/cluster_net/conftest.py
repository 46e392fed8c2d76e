"""Says at the end, in the long form, how long each fault kept loops from committing, beside the bar of the design."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from typing import Final

import pytest

FAULT: Final = "host fault"
_HEAD: Final = ("fault", "n", "p50 s", "max s", "bar s")


def row(fault: str, took_s: Sequence[float], bar_s: float) -> tuple[str, ...]:
    """Return what became of one kind of fault, as a row of the table."""
    return fault, str(len(took_s)), f"{statistics.median(took_s):.2f}", f"{max(took_s):.2f}", f"{bar_s:g}"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lay rows out for people."""
    lines = [_HEAD, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEAD))]
    made = []
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        made.append("  ".join([line[0].ljust(widths[0]), *cells]))
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not float(os.environ.get("MINUTES") or 0):
        return
    rows: list[tuple[str, ...]] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            rows += [tuple(value) for name, value in getattr(report, "user_properties", ()) if name == FAULT]
    if rows:
        terminalreporter.section("hosts that die")
        for line in table(sorted(set(rows))):
            terminalreporter.write_line(line)
