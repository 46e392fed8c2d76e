"""Catalog child: imports every node module of this installation, says what they offer, and ends."""

from __future__ import annotations

from treadle import catalog
from treadle_agent.frames import Found, Ready, Why
from treadle_agent.pools.channel import Channel
from treadle_agent.setup import Setup


def run(setup: Setup, channel: Channel, *, pid: int) -> int:
    """Send what was found; a module that hangs or kills this process is the supervisor's to report."""
    channel.send(Ready(pid))
    found = catalog.load(entry_points=setup.entry_points, paths=setup.nodes)
    errors = [Why(error.code, error.message, traceback=error.reason) for error in found.errors]
    channel.send(Found(found.types, errors))
    return 0
