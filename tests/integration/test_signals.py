"""Signals that come while `wfctl dev` waits for them."""

from __future__ import annotations

import subprocess
import sys

# A handler runs between any two lines of its own thread: here between all of them, from the first that waits.
EVERYWHERE = """
import signal, sys
from wfctl.dev.signals import Signals, Stopped

def interrupt(frame, event, arg):
    if event == "line":
        signal.raise_signal(signal.SIGINT)
    return interrupt

signals = Signals()
signals.listen()
sys.settrace(interrupt)
for _ in range(3):
    try:
        signals.pause(0.001)
    except Stopped:
        pass
sys.settrace(None)
assert signals.ordered
print("done")
"""


def test_a_wait_for_signals_survives_them_at_any_moment() -> None:
    ran = subprocess.run([sys.executable, "-c", EVERYWHERE], capture_output=True, text=True, timeout=20, check=False)

    assert ran.stdout == "done\n", ran.stderr
