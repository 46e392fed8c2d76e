"""What a thread or a task is doing just now: its stack as text, and the node in it."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, NamedTuple

from treadle.node import Node

MAX_FRAMES: Final = 30
_WAITS: Final = ("treadle/queues/latch.py", "treadle/loop/ports.py")  # whoever is there waits as nodes should


class Sight(NamedTuple):
    """A stack, outermost frame first."""

    frames: list[FrameType]

    @property
    def node(self) -> Node[Any] | None:
        """The node whose code this is, None when it is not a node's."""
        return next((found for frame in self.frames if (found := _node_of(frame)) is not None), None)

    @property
    def waits(self) -> bool:
        """Whether it waits in a way that ends when the loop is to end."""
        return any(frame.f_code.co_filename.endswith(_WAITS) for frame in self.frames[-6:])

    @property
    def text(self) -> str:
        """The stack as a traceback shows it, the node's part of it."""
        begin = next((at for at, frame in enumerate(self.frames) if _node_of(frame) is not None), 0)
        inner = self.frames[begin:][-MAX_FRAMES:]
        lines = (traceback.extract_stack(frame, limit=1) for frame in inner)
        return "".join(line for each in lines for line in traceback.format_list(each))


def of_thread(ident: int) -> Sight:
    """Look at a thread of this process."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - the documented way to see another thread
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return Sight(frames[::-1])


def of_task(task: asyncio.Task[Any]) -> Sight:
    """Look at a task that is suspended."""
    frames: list[FrameType] = []
    coroutine: Any = task.get_coro()
    while coroutine is not None and (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = getattr(coroutine, "cr_await", None)
    return Sight(frames)


def of_named(name: str) -> Iterator[Sight]:
    """Look at the threads whose names begin so."""
    for thread in threading.enumerate():
        if thread.name.startswith(name) and thread.ident is not None:
            yield of_thread(thread.ident)


def _node_of(frame: FrameType) -> Node[Any] | None:
    names = frame.f_code.co_varnames
    if not names or names[0] != "self":
        return None
    owner = frame.f_locals.get("self")
    return owner if isinstance(owner, Node) else None
