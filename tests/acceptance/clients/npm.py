"""The JavaScript client and what it needs, installed once for each lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

from tests.require import Require

NODE = Path(__file__).parent / "node"


def install(npm: str) -> str | None:
    """Install what the lock names, unless it is there; returns what went wrong."""
    lock = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()
    stamp = NODE / "node_modules" / ".treadle-lock"
    with (NODE / "package-lock.json").open("rb") as locked:  # two test processes may want them at the same time
        fcntl.flock(locked, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == lock:
            return None
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=NODE,
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if done.returncode != 0:
            return done.stderr
        stamp.write_text(lock)
        return None


def node_client(require: Require) -> Path:
    """Return the folder of the client, with everything that it needs; a named skip where that can't be had."""
    require.program("node")
    problem = install(require.program("npm"))
    require(problem is None, f"the packages of tests/acceptance/clients/node: {problem}")
    return NODE


def environment(more: dict[str, str]) -> dict[str, str]:
    """Return the environment of a program; HTTP proxies are not for calls to this machine."""
    return {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}
