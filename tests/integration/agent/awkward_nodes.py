"""Nodes that do what agents have to survive. Loaded by path, as a user's nodes are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from treadle import Params, ProducerNode


class AwkwardParams(Params):
    flag: str = ""  # a file; the node misbehaves while it exists
    how: str = "raise"


class UnshowableError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def talk_nonsense() -> None:
    """Write to every socket what is no frame."""
    for fd in range(3, 64):
        try:
            if str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("socket:"):
                os.write(fd, b"\0\0\0\1\0" * 10)
        except OSError:
            continue


class Awkward(ProducerNode[AwkwardParams]):
    """Counts, and misbehaves while a file exists."""

    uses = "test.awkward"
    stateful = True

    def execute(self) -> Any:
        if self.params.flag and Path(self.params.flag).exists():
            self._misbehave()
        n = self.state.get("n", 0)
        self.state["n"] = n + 1
        self.context.wait(0.005)
        return {"n": n}

    def _misbehave(self) -> None:
        match self.params.how:
            case "raise":
                raise ValueError("as the test wants it")
            case "unshowable":
                raise UnshowableError
            case "surrogate":
                raise ValueError("\udc80")
            case "sys.exit":
                sys.exit(0)
            case "os._exit":
                os._exit(0)
            case "close everything":
                os.closerange(3, 256)
            case "talk nonsense":
                talk_nonsense()
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                while True:
                    time.sleep(0.01)


class Littering(ProducerNode[Params]):
    """Leaves behind: a program that left its session and its environment's marker is all it has, and a plain fork."""

    uses = "test.littering"

    def open(self) -> None:
        print("printed by a node")  # noqa: T201 - what is tested
        self.context.logger.warning("logged by a node")
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    signal.pause()
            os._exit(0)

    def execute(self) -> Any:
        sys.stdout.flush()
        self.context.wait(0.01)
        return {"pid": os.getpid()}
