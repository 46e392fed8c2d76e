"""Says at the end how many seeds of the simulation were played, in the long form."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not float(os.environ.get("MINUTES") or 0):
        return
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "control plane":
                    terminalreporter.write_line(f"control plane: {value}")
