"""Processes that run loops let the cycle collector look less often."""

from __future__ import annotations

import subprocess
import sys


def test_the_collector_looks_less_often() -> None:
    code = "import gc; from treadle.loop import collector; before = gc.get_threshold(); collector.relax(); "
    code += "assert gc.isenabled() and gc.get_threshold()[0] > 10 * before[0], gc.get_threshold()"
    subprocess.run([sys.executable, "-c", code], check=True)
