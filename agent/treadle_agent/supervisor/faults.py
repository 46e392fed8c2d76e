"""The stacks that a child writes when it crashes or is asked to, in memory that outlives it."""

from __future__ import annotations

import fcntl
import os
import re
from typing import Final, NamedTuple

MAX_READ: Final = 64 * 1024

_FRAME: Final = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)
_HEAD: Final = re.compile(r"^(?:Stack|Current thread .*|Thread .*) \(most recent call first\):$", re.MULTILINE)
_TITLE: Final = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)


class Frame(NamedTuple):
    """One frame of a stack."""

    file: str
    line: int
    function: str


class Stack(NamedTuple):
    """The stack of one thread, innermost frame first."""

    frames: tuple[Frame, ...]
    title: str = ""  # such as "Segmentation fault"

    @property
    def text(self) -> str:
        """The stack as people read it: outermost frame first."""
        return "".join(f'  File "{f.file}", line {f.line}, in {f.function}\n' for f in reversed(self.frames))


class Faults:
    """A file in memory; `fd` is for handing it to a child, which appends."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("faults", os.MFD_CLOEXEC)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)

    def last(self) -> Stack | None:
        """Return the stack that was written last, None when there is none."""
        size = os.fstat(self.fd).st_size
        data = os.pread(self.fd, MAX_READ, max(0, size - MAX_READ))
        return read_last(data.decode(errors="replace"))

    @property
    def size(self) -> int:
        """How much was written."""
        return os.fstat(self.fd).st_size

    def close(self) -> None:
        os.close(self.fd)


def read_last(text: str) -> Stack | None:
    """Read the last stack of what faulthandler has written. Pure."""
    head, title = None, ""
    for found in _HEAD.finditer(text):
        before = text[0 if head is None else head.end() : found.start()]
        titles = _TITLE.findall(before)
        head, title = found, titles[-1] if titles else ""
    if head is None:
        return None
    frames = tuple(Frame(at["file"], int(at["line"]), at["function"]) for at in _FRAME.finditer(text, head.end()))
    return Stack(frames, title)
