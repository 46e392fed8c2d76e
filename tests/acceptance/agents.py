"""Agents beside those that `wfctl dev` has started."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.running import environment, wait_until
from wfctl.dev.daemon import Daemon


@contextmanager
def agent(
    name: str, *, controller: str, redis_url: str, nodes: Sequence[str], labels: Mapping[str, str], folder: Path
) -> Iterator[Daemon]:
    """Run one more agent, whose state and log are in a folder; it is killed in the end."""
    env = {
        **environment(),
        "TREADLE_AGENT_CONTROLLERS": json.dumps([controller]),
        "TREADLE_AGENT_NAME": name,
        "TREADLE_AGENT_LABELS": json.dumps(labels),
        "TREADLE_AGENT_NODES": json.dumps(nodes),
        "TREADLE_AGENT_REDIS": redis_url,
        "TREADLE_AGENT_STATE_DIR": str(folder / name),
    }
    daemon = Daemon(name, "treadle_agent", [], env=env, log=folder / f"{name}.log")
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()
        wait_until(lambda: not daemon.runs, "it is gone")
