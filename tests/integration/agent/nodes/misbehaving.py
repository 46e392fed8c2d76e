"""A node that does, at one message, what agents have to survive. Loaded by path, as a user's nodes are."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from treadle import BlockingNode, NodeData, Params, ProducerNode

_leak: list[bytearray] = []


class Deed(Params):
    """What it does, and at which message. `once`: a file that it makes, so that it does it a single time. `cured`: a
    file; once it is there it does nothing any more."""

    how: str
    at: int = 5
    once: str = ""
    cured: str = ""
    seconds: float = 0.0


class UnpicklableError(Exception):
    """Neither pickles nor shows itself."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def __reduce__(self) -> Any:
        raise TypeError("not me")

    def __str__(self) -> str:
        raise RuntimeError("nor this")


def hold_the_gil(seconds: float) -> None:
    """Wait in the kernel, with the GIL, and in a call that goes on after a signal, as most do."""
    with subprocess.Popen(["sleep", str(seconds)]) as sleeping:
        ctypes.PyDLL(None).waitpid(sleeping.pid, None, 0)


def recurse(depth: int = 0) -> int:
    """Go down until Python says stop."""
    return recurse(depth + 1) + 1


def match_for(seconds: float) -> None:
    """Have one regular expression take at least so long; each letter more doubles it."""
    hopeless = re.compile(r"(a+)+$")
    letters, began = 18, time.thread_time()
    hopeless.match("a" * letters + "b")
    spent = time.thread_time() - began
    while spent < seconds:
        letters, spent = letters + 1, 2 * spent
    hopeless.match("a" * letters + "b")


def daemonize() -> None:
    """Start a process that has nobody left whom it belongs to."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                signal.pause()
        os._exit(0)


def leave_a_copy() -> None:
    """Start a process that stays a child of this one."""
    if os.fork() == 0:
        while True:
            signal.pause()


def leak() -> None:
    """Take 600 MiB; who can't have them gives back what there was, as long as Python still runs."""
    try:
        _leak.extend(bytearray(b"x" * (8 << 20)) for _ in range(75))
    except MemoryError:
        _leak.clear()
        raise


def open_files(count: int) -> None:
    """Open so many at a time."""
    files: list[int] = []
    try:
        files.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(count))
    finally:
        for fd in files:
            os.close(fd)


def start_threads(count: int) -> None:
    """Start threads that wait, and wait for them."""
    threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def act(deed: Deed) -> Any:  # noqa: C901, PLR0912 - a list of deeds
    """Do it."""
    match deed.how:
        case "raises":
            raise ValueError("as the test wants it")
        case "hangs":
            while True:
                time.sleep(0.05)
        case "holds the GIL":
            hold_the_gil(deed.seconds)
        case "computes with the GIL":
            match_for(deed.seconds)
        case "blocks":
            time.sleep(deed.seconds)
        case "leaks":
            leak()
        case "forks":
            leave_a_copy()
        case "forks twice":
            daemonize()
        case "exits":
            os._exit(0)
        case "sys.exit":
            sys.exit(3)
        case "segfaults":
            ctypes.string_at(0)
        case "kills its process group":
            os.killpg(0, signal.SIGKILL)
        case "returns what can't be encoded":
            return {"n": object()}
        case "raises what can't be pickled":
            raise UnpicklableError
        case "recurses":
            recurse()
        case "opens files":
            open_files(10_000)
        case "starts threads":
            start_threads(100)
        case "prints megabytes":
            line = "x" * 99
            for _ in range(40_000):
                print(line)  # noqa: T201 - what is tested
    return None


class _Doer(BlockingNode[Deed]):
    def due(self, data: NodeData) -> bool:
        """Whether this is the message, and it has not been done yet."""
        deed = self.params
        if data["n"] != deed.at:
            return False
        if deed.cured and Path(deed.cured).exists():
            return False
        if deed.once:
            try:
                os.close(os.open(deed.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
        return True


class Misbehave(_Doer):
    """Passes on, and misbehaves at one message."""

    uses = "test.misbehave"

    def execute(self, data: NodeData) -> Any:
        return (act(self.params) if self.due(data) else None) or data


class MisbehaveAsync(_Doer):
    """The same as a coroutine."""

    uses = "test.misbehave-async"

    async def execute(self, data: NodeData) -> Any:
        if not self.due(data):
            return data
        if self.params.how == "hangs":
            await asyncio.sleep(3600)
        return act(self.params) or data


class MisbehaveProducer(ProducerNode[Deed]):
    """Counts in its state, and misbehaves at one number, without any input, until it is cured."""

    uses = "test.misbehave-producer"
    stateful = True

    def execute(self) -> Any:
        n = self.state["n"] = self.state.get("n", -1) + 1
        if n == self.params.at and not Path(self.params.cured).exists():
            act(self.params)
        return {"n": n}
