"""What a child said last is heard, even when the first thing that tells of its end is a frame that it can't take."""

from __future__ import annotations

import asyncio
import socket

from treadle_agent.frames import Drain, Ended, FromChild, pack
from treadle_agent.supervisor.wire import Wire


def test_a_child_that_is_told_something_after_its_last_words_is_heard_to_the_end() -> None:
    assert asyncio.run(told_too_late()) == [Ended(1, "completed"), "closed"]


async def told_too_late() -> list[FromChild | str]:
    ours, theirs = socket.socketpair()
    heard: list[FromChild | str] = []
    wire = Wire(ours, heard.append, lambda: heard.append("closed"), heard.append)
    asyncio.get_running_loop().remove_reader(ours.fileno())  # nobody has looked yet
    theirs.sendall(pack(Ended(1, "completed")))
    theirs.close()

    wire.send(Drain(1))

    wire.send(Drain(1))  # which changes nothing any more
    return heard
