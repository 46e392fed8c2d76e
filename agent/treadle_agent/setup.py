"""What a child is told at its birth, over the forkserver's socket: never in arguments or the environment."""

from __future__ import annotations

import signal
from typing import Final, Literal

import msgspec

Role = Literal["catalog", "thread", "asyncio", "process"]

SHOW_STACK: Final = signal.SIGRTMIN + 7  # has a thread of a child write its stack to its `faults`; needs no GIL
MARKER: Final = "TREADLE_CHILD"  # in the environment of a child; survives exec in what user code starts


class Traces(msgspec.Struct, frozen=True, array_like=True):
    """That, and how many, iterations are traced."""

    ratio: float
    per_second: int


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """One child process. The file descriptors travel beside it: channel, page, faults, output."""

    request: int
    role: Role
    marker: str
    agent: str
    redis: str
    log_level: str
    nodes: list[str]
    entry_points: bool = True
    open_files: int | None = None
    traces: Traces | None = None
    secrets_folder: str = ""
    secrets_prefix: str = ""


class Forked(msgspec.Struct, frozen=True, array_like=True, tag="forked"):
    """The forkserver made the child that was asked for."""

    request: int
    pid: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The forkserver could not."""

    request: int
    message: str


class Exited(msgspec.Struct, frozen=True, array_like=True, tag="exited"):
    """A child is gone: an exit code, or the negative number of the signal that ended it."""

    pid: int
    code: int


Said = Forked | Refused | Exited
